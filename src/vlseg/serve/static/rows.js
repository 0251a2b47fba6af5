// The list of prompts, and what is told of the one that is selected.

import { discard } from "./brush.js";
import { combobox } from "./combobox.js";
import { sayInstead } from "./compare.js";
import { remember } from "./history.js";
import { swatch } from "./looks.js";
import { ask, newRow, removeRow, setThreshold, typed } from "./prompts.js";
import { app, byId, changed, make, say } from "./state.js";
import { areaWords, BADGES, hundredths, presenceSentence, presenceShort, stateSentence, thresholdWords } from "./words.js";

const elements = new Map(); // by row

export function wireRows() {
  byId("add").addEventListener("click", () => {
    const row = newRow();
    if (row) focusRow(row);
  });
  byId("threshold").addEventListener("input", (event) => app.selected && setThreshold(app.selected, event.target.valueAsNumber));
  byId("own-threshold").addEventListener("click", () => app.selected && setThreshold(app.selected, null));
  byId("discard").addEventListener("click", () => app.selected && discard(app.selected));
}

/** Puts the keyboard into a prompt's field. */
export function focusRow(row) {
  showRows();
  elements.get(row).field.focus();
}

export function showRows() {
  for (const [row, { item }] of elements) {
    if (app.rows.includes(row)) continue;
    item.remove();
    elements.delete(row);
  }
  const list = byId("rows");
  app.rows.forEach((row, at) => {
    if (!elements.has(row)) elements.set(row, built(row));
    const parts = elements.get(row);
    if (list.children[at] !== parts.item) list.insertBefore(parts.item, list.children[at] ?? null);
    update(row, parts, at + 1);
  });
  byId("no-rows").hidden = app.rows.length > 0;
  showSelected();
}

function built(row) {
  const eye = make("button", { type: "button", className: "eye" }, swatch(row.look));
  eye.addEventListener("click", () => {
    row.visible = !row.visible;
    say(`“${row.prompt}” is ${row.visible ? "shown" : "hidden"}.`);
    changed();
  });
  const { box, field } = fieldOf(row);
  const other = make("button", { type: "button", className: "quiet", textContent: "Instead…", title: "Compare with saying it otherwise" });
  other.addEventListener("click", () => sayInstead(row, focusRow));
  const remove = make("button", { type: "button", className: "quiet", textContent: "×", title: "Remove this prompt" });
  remove.addEventListener("click", () => removed(row));
  const told = make("p", { className: "told" });
  const unknown = make("p", { className: "unknown" });
  const item = make("li", { className: "row" }, make("div", { className: "line" }, eye, box, remove),
    make("div", { className: "line" }, told, other), unknown);
  item.addEventListener("focusin", () => select(row));
  item.addEventListener("pointerdown", () => select(row));
  return { item, eye, field, other, remove, told, unknown };
}

/** Any text for models that read; names of targets for others. */
function fieldOf(row) {
  if (!app.model.reads_text) {
    const field = make("select", {}, ...["", ...app.model.targets].map((one) => make("option", { value: one, textContent: one || "Choose what to segment" })));
    field.value = row.prompt;
    field.addEventListener("change", () => typed(row, field.value));
    return { box: make("div", { className: "combo" }, field), field };
  }
  const { box, input } = combobox({
    id: `prompt-${row.number}`, label: "Prompt", value: row.prompt,
    onInput: (text) => typed(row, text),
    onEnter: () => row.prompt.trim() && app.image && ask(row),
  });
  return { box, field: input };
}

function select(row) {
  if (app.selected === row) return;
  app.selected = row;
  changed();
}

function removed(row) {
  const [at, selected] = [app.rows.indexOf(row), app.selected];
  remember({
    name: `“${row.prompt}” removed`,
    undo: () => {
      app.rows.splice(at, 0, row);
      app.selected = selected;
      if (row.prompt.trim()) ask(row); // the model may be another by now
    },
    redo: () => removeRow(row),
  });
  removeRow(row);
  say(`“${row.prompt}” is removed; undo brings it back.`);
  if (app.selected) focusRow(app.selected);
  else byId("add").focus();
}

function update(row, { item, eye, field, other, remove, told, unknown }, number) {
  const name = row.prompt.trim() ? `“${row.prompt}”` : `prompt ${number}`;
  item.toggleAttribute("data-selected", row === app.selected);
  item.dataset.state = row.error ? "error" : (row.state ?? "none");
  item.toggleAttribute("data-asking", row.asking);
  eye.setAttribute("aria-pressed", String(row.visible));
  eye.setAttribute("aria-label", `Show ${name} (${row.look.pattern} pattern)`);
  field.setAttribute("aria-label", `Prompt ${number}`);
  if (field.value !== row.prompt) field.value = row.prompt;
  field.readOnly = Boolean(row.edit);
  if (field.tagName === "SELECT") field.disabled = Boolean(row.edit);
  field.title = row.edit ? "Corrected by hand: discard the corrections to type anew, or add a prompt" : "";
  other.setAttribute("aria-label", `Instead… of ${name}: compare`);
  remove.setAttribute("aria-label", `Remove ${name}`);
  told.replaceChildren(...toldOf(row));
  const words = row.result?.unknown_words ?? [];
  unknown.hidden = words.length === 0;
  unknown.replaceChildren("Rare or absent in its training: ", ...words.flatMap((word, at) => [at ? ", " : "", make("mark", { textContent: word })]));
}

function toldOf(row) {
  if (row.error) return [make("b", { textContent: "No answer" }), ` · ${row.error}`];
  if (!row.prompt.trim()) return [];
  if (!app.image) return ["Open an image to see its mask."];
  if (!row.mask) return ["Asking…"];
  if (row.asking && row.result && row.result.prompt !== row.prompt)
    return [make("b", { textContent: "Asking…" }), ` · the mask is still that of “${row.result.prompt}”`];
  const more = [areaWords(row.area, app.image.spacing)];
  if (row.result) more.push(presenceShort(row.result.presence));
  if (row.edit) more.push("corrected by hand");
  return [make("b", { textContent: BADGES[row.state] ?? "Kept mask" }), ` · ${more.filter(Boolean).join(" · ")}`];
}

function showSelected() {
  const row = app.selected;
  const panel = byId("selected");
  panel.hidden = !row?.result;
  if (panel.hidden) return;
  byId("selected-name").textContent = `“${row.prompt}”`;
  byId("state").textContent = stateSentence(row, app.image.familiar, app.image.width * app.image.height);
  byId("presence").textContent = presenceSentence(row.result.presence, row.state);
  const own = Math.min(99, Math.round(row.result.threshold * 100));
  const slider = byId("threshold");
  if (slider.valueAsNumber !== (row.k ?? own)) slider.value = row.k ?? own;
  const value = row.k === null ? `${thresholdWords(row)} (the model's own)` : hundredths(row.k);
  byId("threshold-value").textContent = value;
  slider.setAttribute("aria-valuetext", value);
  byId("own-threshold").disabled = row.k === null;
  byId("discard").disabled = !row.edit;
}

/** The fields are made anew: another model. */
export function rebuildRows() {
  for (const { item } of elements.values()) item.remove();
  elements.clear();
  changed();
}
