// A session's file: prompts, thresholds and masks, without the image.

import { clearHistory } from "./history.js";
import { decodeGrey, fromBase64 } from "./png.js";
import { ask, newRow, recompute, removeRow } from "./prompts.js";
import { app, changed, complain, say } from "./state.js";

let waiting = null; // a session whose image is not open yet

/** What the page adds to the server's file: which image and model it was. */
export function sessionNote() {
  return { image_sha256: app.image.sha256, model: app.image.model, digest: app.image.digest };
}

/** Opens a session's file; where its image is not open, once that is. */
export async function openSession(file) {
  let found;
  try {
    found = await read(file);
  } catch (error) {
    complain(new Error(`session: ${error.message}; open a file that Save › Session wrote`));
    return;
  }
  if (app.rows.some((row) => row.edit) && !confirm("The open image has corrections that would be lost. Open the session?")) return;
  waiting = found;
  const { width, height } = waiting;
  if (!app.image || !fits()) say(`The session is read. Now open its image (${width} × ${height} pixels).`);
  else applySession();
}

async function read(file) {
  let values;
  try {
    values = JSON.parse(await file.text());
  } catch {
    throw new Error("is no JSON");
  }
  const { width, height } = values?.image ?? {};
  if (!Array.isArray(values?.items) || !Number.isInteger(width) || !Number.isInteger(height)) throw new Error("is no session");
  const items = await Promise.all(values.items.map(async (item, number) => {
    const picture = await decodeGrey(fromBase64(String(item.mask))).catch(() => null);
    if (!picture || picture.width !== width || picture.height !== height || typeof item.prompt !== "string")
      throw new Error(`items.${number} has no prompt or no mask of ${width} × ${height} pixels`);
    return { ...item, mask: picture.values.map((value) => (value > 0 ? 1 : 0)) };
  }));
  return { width, height, items, page: values.page ?? {} };
}

const fits = () => waiting.width === app.image.width && waiting.height === app.image.height;

/** Puts a waiting session onto the open image; null where none waits. */
export function applySession() {
  if (!waiting) return null;
  if (!fits()) {
    complain(new Error(`image: the session is about one of ${waiting.width} × ${waiting.height} pixels; open that one`));
    return null;
  }
  const { items, page } = waiting;
  waiting = null;
  for (const row of [...app.rows]) removeRow(row);
  clearHistory();
  const restored = Promise.all(items.map(restore));
  say(`The session is open: ${items.length} ${items.length === 1 ? "prompt" : "prompts"}.`);
  changed();
  return restored.then(() => compareWith(page));
}

/** What is not as it was when the session was saved. */
function compareWith(page) {
  if (page.image_sha256 && page.image_sha256 !== app.image.sha256)
    complain(new Error("image: is another file than the session's, of the same size; make sure that it is the same picture"));
  else if (page.digest && app.image.digest && page.digest !== app.image.digest)
    complain(new Error(
      `session: was saved with the model “${page.model}” of other weights; its masks are kept, and what differs counts as ` +
      "corrected by hand. Where that model is in the list, choose it and open the session again"));
}

/** The prompt is asked again; where the model's mask is another than the kept one, the rest counts as correction. */
async function restore(item) {
  const row = newRow(item.prompt);
  if (!row) return;
  row.saved = item.mask;
  const k = Math.round(item.threshold * 100);
  row.k = Number.isFinite(item.threshold) ? Math.min(99, Math.max(0, k)) : null;
  await ask(row);
  if (row.result && Math.abs(row.result.threshold - item.threshold) < 1e-9) {
    row.k = null;
    row.saved = item.mask;
    row.edit = null;
    recompute(row);
  }
}
