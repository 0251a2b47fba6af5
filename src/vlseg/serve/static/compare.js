// Two prompts side by side, and what changes between them.

import { BOTH, swatch } from "./looks.js";
import { difference, outline } from "./masks.js";
import { newRow, typed } from "./prompts.js";
import { app, byId, changed, make, say } from "./state.js";
import { areaWords, count } from "./words.js";
import { setTool } from "./brush.js";

let drawn = ""; // what the fields and captions say
let shown = { a: null, b: null, found: null }; // the masks that the difference is of

export function wireCompare() {
  for (const side of ["a", "b"])
    byId(`compare-${side}`).addEventListener("change", (event) => {
      app.compare[side] = app.rows.find((row) => String(row.number) === event.target.value);
      changed();
    });
  byId("compare-on").addEventListener("click", () => (app.compare ? leave() : begin(...two())));
}

function two() {
  const others = app.rows.filter((row) => row !== app.selected);
  const first = app.selected ?? app.rows[0];
  const [a, b] = [first, others.at(-1)].sort((one, other) => app.rows.indexOf(one) - app.rows.indexOf(other));
  return [a, b];
}

function begin(a, b) {
  setTool("move");
  app.compare = { a, b };
  say(`Side by side: “${a.prompt}” and “${b.prompt}”.`);
  changed();
}

function leave() {
  app.compare = null;
  say("One picture with all prompts.");
  changed();
}

/** A second prompt that begins as the first one, beside it; typing shows what changes. */
export function sayInstead(row, focus) {
  const other = newRow(row.prompt);
  if (!other) return;
  other.k = row.k;
  typed(other, row.prompt);
  begin(row, other);
  focus(other);
}

/** The three masks between the two prompts, or null while one of them is not there. */
export function compared() {
  const { a, b } = app.compare;
  if (!a.mask || !b.mask) return null;
  if (shown.a !== a.mask || shown.b !== b.mask || !shown.found) {
    const { width, height } = app.image;
    const found = difference(a.mask, b.mask);
    const paths = Object.fromEntries(Object.entries(found.masks).map(([name, mask]) => [name, outline(mask, width, height)]));
    shown = { a: a.mask, b: b.mask, found: { ...found, paths } };
  }
  return shown.found;
}

export function differenceLayers() {
  const found = compared();
  if (!found) return [];
  const { a, b } = app.compare;
  return [
    { path: found.paths.both, look: BOTH },
    { path: found.paths.a, look: a.look },
    { path: found.paths.b, look: b.look },
  ];
}

export function showCompare() {
  const on = byId("compare-on");
  on.disabled = app.rows.length < 2 || !app.image;
  on.setAttribute("aria-pressed", String(app.compare !== null));
  byId("compare-sides").hidden = byId("difference").hidden = !app.compare;
  byId("panes").classList.toggle("three", app.compare !== null);
  for (const id of ["pane-b", "pane-difference"]) byId(id).hidden = !app.compare;
  if (!app.compare) {
    shown = { a: null, b: null, found: null };
    drawn = "";
    byId("caption-a").replaceChildren();
    return;
  }
  const key = JSON.stringify([app.compare.a.number, app.compare.b.number, app.rows.map((row) => [row.number, row.prompt])]);
  for (const side of key === drawn ? [] : ["a", "b"]) {
    const row = app.compare[side];
    const options = app.rows.map((one, at) => make("option", { value: one.number, textContent: `${at + 1}: ${one.prompt}`, selected: one === row }));
    byId(`compare-${side}`).replaceChildren(...options);
    byId(`caption-${side}`).replaceChildren(swatch(row.look, 14), ` ${side.toUpperCase()}: ${row.prompt}`);
  }
  drawn = key;
  showNumbers();
}

function showNumbers() {
  const found = compared();
  byId("numbers").hidden = !found;
  byId("difference-words").textContent = found ? sentence(found.areas) : "Both prompts need a mask.";
  if (!found) return;
  const { a, b } = app.compare;
  const total = found.areas.a + found.areas.b + found.areas.both;
  const lines = [["Only A", a.look, found.areas.a], ["Only B", b.look, found.areas.b], ["Both", BOTH, found.areas.both]];
  byId("numbers-body").replaceChildren(...lines.map(([name, look, pixels]) => make("tr", {},
    make("th", { scope: "row" }, swatch(look, 14), ` ${name}`),
    make("td", { textContent: areaWords(pixels, app.image.spacing) }),
    make("td", { textContent: total ? `${((100 * pixels) / total).toFixed(1)} %` : "–" }))));
}

function sentence({ a, b, both }) {
  if (!a && !b && !both) return "Both masks are empty: nothing to compare.";
  if (!a && !b) return "Nothing changes: the two masks are the same, pixel by pixel.";
  const dice = (2 * both) / (2 * both + a + b);
  return `${count(a + b)} px change. Overlap of A and B (Dice): ${dice.toFixed(3)}.`;
}
