// The image that is open: sent to the server once, and as the person sees it.

import { bytesOf, drop, exported, upload } from "./api.js";
import { encodeMask, toBase64 } from "./png.js";
import { askAll, forgetAnswers, newRow, removeRow } from "./prompts.js";
import { app, byId, changed, complain, say, settle } from "./state.js";
import { clearHistory } from "./history.js";
import { applySession } from "./session.js";
import { camera } from "./view.js";

let opening = 0;

/** Opens a file: what was corrected on the image before is asked about first. */
export async function openImage(file, prompts = null) {
  const edited = app.rows.some((row) => row.edit);
  if (edited && !confirm("The open image has corrections that would be lost. Open the other image?")) return;
  await show(file, prompts);
}

/** The same file once more, for another model; whether that went well. */
export async function openAgain() {
  if (app.image) return show(app.image.file, null, { keepEdits: true });
  forgetAnswers();
  return true;
}

async function show(file, prompts, { keepEdits = false } = {}) {
  const mine = ++opening;
  settle();
  say("Sending the image.");
  byId("stage").setAttribute("aria-busy", "true");
  try {
    const image = await sent(file);
    if (mine !== opening) {
      drop(image.id);
      return false;
    }
    if (app.image) drop(app.image.id);
    Object.assign(app, { image, compare: null });
    forgetAnswers({ keepEdits });
    if (!keepEdits) clearHistory();
    if (!keepEdits) Object.assign(camera, { zoom: 1, x: image.width / 2, y: image.height / 2 });
    for (const row of prompts ? [...app.rows] : []) removeRow(row);
    for (const prompt of prompts ?? []) newRow(prompt);
    if (!app.rows.length) newRow();
    say(`Image of ${image.width} × ${image.height} pixels is open. ${image.familiar.state === "unlike" ? "The model cannot judge it." : ""}`.trim());
    changed();
    await (applySession() ?? askAll());
    return true;
  } catch (error) {
    if (mine === opening) complain(error);
    if (mine === opening) say("");
    return false;
  } finally {
    if (mine === opening) byId("stage").removeAttribute("aria-busy");
  }
}

async function sent(file) {
  const model = app.model.name;
  const [info, bytes] = await Promise.all([upload(file, model), bytesOf(file)]);
  const image = { file, model, ...info, spacing: null, digest: null };
  image.sha256 = hex(await crypto.subtle.digest("SHA-256", bytes));
  image.picture = (await own(file, bytes, info)) ?? (await servers(info));
  return image;
}

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** A PNG with 16 bits: the server scales those as the model takes them, browsers cut them off. */
const isDeep = (bytes) => bytes[1] === 80 && bytes[2] === 78 && bytes[3] === 71 && bytes[24] === 16;

/** The browser's own reading; null where it has none (TIFF), or not the model's: another size, 16 bits, or it shows through. */
export async function own(file, bytes, { width, height }) {
  if (isDeep(new Uint8Array(bytes))) return null;
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  return picture && picture.width === width && picture.height === height && !showsThrough(picture) ? picture : null;
}

/** Whether parts are transparent: the model gets the colours below. */
function showsThrough(picture) {
  const context = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, 64, 64);
  return context.getImageData(0, 0, 64, 64).data.some((value, at) => at % 4 === 3 && value < 255);
}

/** The server's reading: an overlay with an empty mask. */
async function servers({ id, width, height }) {
  const mask = toBase64(await encodeMask(new Uint8Array(width * height), width, height));
  return createImageBitmap(await exported(id, { what: "overlay", items: [{ prompt: "image", mask }] }));
}

const KINDS = /\.(png|jpe?g|webp|bmp|tiff?|gif)$/i;

/** Image files among those that were chosen. */
export const imagesAmong = (files) => [...files].filter((file) => KINDS.test(file.name) || file.type.startsWith("image/"));

/** What was dropped, with what is in dropped folders; each file has its path there as `place`. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [Object.assign(file, { place: entry.fullPath.replace(/^\//, "") })];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesIn))).flat();
}
