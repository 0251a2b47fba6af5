// Prompts and their masks: made, asked while typing, recomputed.

import { segment, upload } from "./api.js";
import { LOOKS } from "./looks.js";
import { above, area, corrected, correctionsTo, outline } from "./masks.js";
import { decodeGrey, fromBase64 } from "./png.js";
import { app, changed, complain, MOST_PROMPTS, say, settle } from "./state.js";
import { rowStatus } from "./words.js";

const PAUSE = 250; // milliseconds after the last key
const EMPTY = { state: null, result: null, hundredths: null, given: null, highest: null, base: null, edit: null };
let made = 0;

/** A new prompt with the first look that is free. */
export function newRow(prompt = "") {
  if (app.rows.length >= MOST_PROMPTS) {
    complain(new Error(`prompts: at most ${MOST_PROMPTS} at once; remove one`));
    return null;
  }
  const taken = app.rows.map((row) => row.look);
  const look = LOOKS.find((one) => !taken.includes(one)) ?? LOOKS[app.rows.length % LOOKS.length];
  const row = { ...EMPTY, number: ++made, prompt, look, visible: true, k: null, asked: 0, asking: false, error: null, lost: false };
  Object.assign(row, { mask: null, path: null, area: 0, modelArea: 0, saved: null, timer: 0, controller: null });
  app.rows.push(row);
  app.selected = row;
  changed();
  return row;
}

export function removeRow(row) {
  stop(row);
  settle("prompts");
  app.rows = app.rows.filter((one) => one !== row);
  if (app.selected === row) app.selected = app.rows.at(-1) ?? null;
  if (app.compare && (app.compare.a === row || app.compare.b === row)) app.compare = null;
  changed();
}

/** Nothing is known of any prompt: another image or model. */
export function forgetAnswers({ keepEdits = false } = {}) {
  for (const row of app.rows) {
    stop(row);
    Object.assign(row, { ...EMPTY, edit: keepEdits ? row.edit : null, mask: null, path: null, error: null });
    Object.assign(row, { area: 0, modelArea: 0, saved: null });
  }
  changed();
}

function stop(row) {
  clearTimeout(row.timer);
  row.controller?.abort();
  row.asked += 1;
  row.asking = false;
}

/** The prompt was typed; asks when typing pauses. */
export function typed(row, prompt) {
  row.prompt = prompt;
  stop(row);
  settle("prompts");
  if (!prompt.trim()) {
    Object.assign(row, { ...EMPTY, mask: null, path: null, error: null, area: 0, modelArea: 0 });
  } else if (app.image) {
    row.asking = true;
    row.timer = setTimeout(() => ask(row), PAUSE);
  }
  changed();
}

export function askAll() {
  return Promise.all(app.rows.filter((row) => row.prompt.trim()).map(ask));
}

/** Asks once more what the server did not hear: it may be there again, or the page allowed again. */
export function askLost() {
  return Promise.all(app.rows.filter((row) => row.error && row.lost).map(ask));
}

/** Asks for a prompt's mask. Answers that come after a later question are dropped. */
export async function ask(row) {
  stop(row);
  const mine = row.asked;
  if (!app.image) return;
  row.asking = true;
  row.controller = new AbortController();
  const options = { signal: row.controller.signal, waiting: () => say("The server is full; waiting for a place.") };
  changed();
  try {
    const wanted = { prompts: [row.prompt], model: app.image.model, probability: true };
    const answer = await kept((id) => segment(id, wanted, options));
    const [result] = answer.results;
    const given = await decodeGrey(fromBase64(result.mask));
    const { values } = await decodeGrey(fromBase64(result.probability));
    if (mine !== row.asked) return;
    Object.assign(app.image, { familiar: answer.familiar, spacing: answer.spacing_mm, digest: answer.digest });
    Object.assign(row, { result, given: given.values, hundredths: values, error: null });
    row.highest = values.reduce((most, value) => Math.max(most, value), 0);
    settle("prompts");
  } catch (error) {
    if (mine !== row.asked || error.name === "AbortError") return;
    const saved = row.saved;
    Object.assign(row, { ...EMPTY, edit: row.edit, error: error.message, lost: [0, 401].includes(error.status) });
    if (saved) row.given = new Uint8Array(saved.length); // what was kept is shown, whatever the model says now
    complain(error, "prompts");
  }
  row.asking = false;
  recompute(row);
  say(rowStatus(row, app.image.spacing), 500);
}

/** What `work` gives for the image's id; an image that the server has dropped is sent again. */
export async function kept(work) {
  const image = app.image;
  try {
    return await work(image.id);
  } catch (error) {
    if (error.code !== "no_such_image") throw error;
    image.again ??= upload(image.file, image.model).finally(() => (image.again = null));
    image.id = (await image.again).id;
    return work(image.id);
  }
}

/** The model's mask at the threshold, with the corrections on top. */
export function recompute(row) {
  if (!row.given) {
    Object.assign(row, { base: null, mask: null, path: null, area: 0, modelArea: 0, state: null });
    changed();
    return;
  }
  row.base = row.k === null || !row.hundredths ? row.given : above(row.hundredths, row.k);
  if (row.saved) {
    row.edit = correctionsTo(row.base, row.saved);
    row.saved = null;
  }
  row.modelArea = area(row.base);
  row.state = stateOf(row);
  remask(row);
}

/** After a correction: the model's part is as it was. */
export function remask(row) {
  const { width, height } = app.image;
  row.mask = corrected(row.base, row.edit);
  row.area = area(row.mask);
  row.path = outline(row.mask, width, height);
  changed();
}

/** As the server's rule has it for this threshold: one pixel is enough; what cannot be judged stays so. */
function stateOf(row) {
  if (!row.result) return null;
  if (row.result.state === "cannot_judge") return "cannot_judge";
  return row.modelArea > 0 ? "found" : "not_found";
}

/** k hundredths, or null: the model's own threshold. */
export function setThreshold(row, k) {
  row.k = k;
  if (row.given) recompute(row);
  else changed();
  if (row.result) say(rowStatus(row, app.image.spacing), 500);
}
