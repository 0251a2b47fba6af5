// What can be taken away: through the server, which writes on each file what it is for.

import { correct, exported } from "./api.js";
import { encodeMask, toBase64 } from "./png.js";
import { kept } from "./prompts.js";
import { openSession, sessionNote } from "./session.js";
import { app, byId, complain, make, say, settle } from "./state.js";

/** A file's name: the image's, which is told to nobody else, and what it is. */
const named = (what) => `${app.image.file.name.replace(/\.[^.]*$/, "") || "image"}-${what}`;

const NAMES = { masks: "masks.zip", coco: "coco.json", overlay: "overlay.png", session: "session.json" };

export function wireSave() {
  for (const what of Object.keys(NAMES)) byId(`save-${what}`).addEventListener("click", () => guarded(() => save(what)));
  byId("save-mask").addEventListener("click", () => guarded(saveMask));
  byId("session-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) openSession(file);
    event.target.value = "";
  });
  byId("corrections").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(saveCorrections);
  });
}

async function guarded(work) {
  settle();
  try {
    await work();
  } catch (error) {
    complain(error);
  }
}

const shown = () => app.rows.filter((row) => row.mask && row.visible);

async function pngOf(row) {
  return toBase64(await encodeMask(row.mask, app.image.width, app.image.height));
}

async function itemOf(row) {
  const item = { prompt: row.prompt, mask: await pngOf(row), colour: row.look.colour, edited: Boolean(row.edit) };
  const threshold = row.k === null ? row.result?.threshold : row.k / 100;
  return threshold === undefined ? item : { ...item, threshold };
}

async function save(what) {
  const items = await Promise.all(shown().map(itemOf));
  let file = await kept((id) => exported(id, { what, items }));
  if (what === "session") {
    const values = { ...JSON.parse(await file.text()), page: sessionNote() };
    file = new Blob([JSON.stringify(values, null, 1), "\n"], { type: "application/json" });
  }
  if (what === "coco") {
    const values = JSON.parse(await file.text());
    values.images[0].file_name = app.image.file.name; // the server was not told
    file = new Blob([JSON.stringify(values, null, 1), "\n"], { type: "application/json" });
  }
  download(file, named(NAMES[what]));
}

async function saveMask() {
  const row = app.selected;
  const bytes = await encodeMask(row.mask, app.image.width, app.image.height, 8);
  download(new Blob([bytes], { type: "image/png" }), named("mask.png"));
}

/** Gives a file to the browser. */
export function download(file, name) {
  const link = make("a", { href: URL.createObjectURL(file), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`${name} is saved.`);
}

async function saveCorrections() {
  const rows = shown();
  const targets = new Map([...byId("targets").querySelectorAll("input")].map((one) => [Number(one.dataset.row), one.value.trim()]));
  const items = await Promise.all(rows.map(async (row) => ({ prompt: row.prompt, target: targets.get(row.number), mask: await pngOf(row) })));
  const patient = byId("patient").value.trim() || "unknown";
  const { sample_ids, dataset } = await kept((id) => correct({ image_id: id, items, patient }));
  say(`${sample_ids.length} ${sample_ids.length === 1 ? "mask is" : "masks are"} kept in ${dataset} on the server.`);
}

export function showSave() {
  const none = shown().length === 0 || shown().some((row) => row.asking); // the mask would be that of what stood there before
  for (const what of Object.keys(NAMES)) byId(`save-${what}`).disabled = none;
  byId("save-mask").disabled = !app.selected?.mask || app.selected.asking;
  byId("corrections").hidden = !app.corrections;
  if (!app.corrections) return;
  byId("save-corrections").disabled = none;
  const list = byId("targets");
  const numbers = shown().map((row) => row.number);
  for (const one of [...list.children]) if (!numbers.includes(Number(one.dataset.row))) one.remove();
  for (const row of shown()) {
    let line = [...list.children].find((one) => Number(one.dataset.row) === row.number);
    if (!line) {
      const input = make("input", { type: "text", required: true, maxLength: 200, value: targetOf(row.prompt) });
      input.dataset.row = row.number;
      line = make("label", {}, make("span", {}), input);
      line.dataset.row = row.number;
      list.append(line);
    }
    line.firstChild.textContent = `Structure in “${row.prompt}”`;
  }
}

/** The target of the model that the prompt names, or the prompt. */
const targetOf = (prompt) => app.model.targets.find((one) => prompt.toLowerCase().includes(one.toLowerCase())) ?? prompt.trim();
