// Corrections by brush, with the pointer or the keys.

import { remember } from "./history.js";
import { ADDED, correctPart, ERASED, outline, stroke } from "./masks.js";
import { remask } from "./prompts.js";
import { app, changed, say } from "./state.js";
import { rowStatus } from "./words.js";

export const cursor = { x: 0, y: 0, shown: false, down: false };
const VALUES = { add: ADDED, erase: ERASED };
let current = null; // {row, before, last}
let planned = false;

export const brushing = () => app.tool in VALUES && !app.compare;

/** Whether there is a mask to correct; says so where there is none. */
function ready() {
  if (app.selected?.mask && app.selected.visible) return true;
  say(app.selected?.mask ? "The selected prompt is hidden: show it to correct it." : "Type a prompt first: there is no mask to correct.");
  return false;
}

export function beginStroke(point) {
  if (!ready()) return;
  const row = app.selected;
  current = { row, before: row.edit, last: point };
  row.mask = row.mask.slice();
  row.edit = row.edit ? row.edit.slice() : new Uint8Array(row.mask.length);
  continueStroke(point);
}

export function continueStroke(point) {
  if (!current) return;
  const { width, height } = app.image;
  const { row, last } = current;
  const part = stroke(row.edit, width, height, last, point, app.brush / 2, VALUES[app.tool]);
  correctPart(row.mask, row.base, row.edit, width, part);
  current.last = point;
  if (planned) return;
  planned = true; // of large images an outline takes longer than the pointer's next move
  requestAnimationFrame(() => {
    planned = false;
    if (!current) return;
    current.row.path = outline(current.row.mask, width, height);
    changed();
  });
}

export function endStroke() {
  if (!current) return;
  const { row, before } = current;
  current = null;
  remask(row);
  step(row, before, row.edit, app.tool === "add" ? "brush" : "eraser");
  say(rowStatus(row, app.image.spacing));
}

/** Takes the stroke back, as when a second finger comes. */
export function cancelStroke() {
  if (!current) return;
  current.row.edit = current.before;
  remask(current.row);
  current = null;
}

/** All corrections of a prompt go; undo brings them back. */
export function discard(row) {
  if (!row.edit) return;
  const before = row.edit;
  set(row, null);
  step(row, before, null, "corrections discarded");
  say(rowStatus(row, app.image.spacing));
}

function step(row, before, after, name) {
  const [was, is] = [packed(before), packed(after)];
  remember({ name, undo: () => set(row, unpacked(was)), redo: () => set(row, unpacked(is)) });
}

function set(row, edit) {
  row.edit = edit;
  if (row.base) remask(row);
  else changed();
}

/** Runs of equal values: [length, value, ...]; corrections of large images take little memory so. */
function packed(edit) {
  if (!edit) return null;
  const runs = [];
  for (let at = 0; at < edit.length; ) {
    let end = at;
    while (end < edit.length && edit[end] === edit[at]) end += 1;
    runs.push(end - at, edit[at]);
    at = end;
  }
  return Uint32Array.from(runs);
}

function unpacked(runs) {
  if (!runs) return null;
  let length = 0;
  for (let at = 0; at < runs.length; at += 2) length += runs[at];
  const edit = new Uint8Array(length);
  for (let at = 0, to = 0; at < runs.length; at += 2) {
    edit.fill(runs[at + 1], to, to + runs[at]);
    to += runs[at];
  }
  return edit;
}

/** Moves the brush by keys, in whole pixels; draws where it is down. */
export function moveCursor(dx, dy) {
  const { width, height } = app.image;
  cursor.x = Math.min(width - 0.5, Math.max(0.5, Math.floor(cursor.x) + 0.5 + dx));
  cursor.y = Math.min(height - 0.5, Math.max(0.5, Math.floor(cursor.y) + 0.5 + dy));
  cursor.shown = true;
  if (cursor.down) continueStroke({ ...cursor });
  say(`${cursor.down ? "Drawing at" : "Brush at"} ${Math.floor(cursor.x)}, ${Math.floor(cursor.y)}`, 300);
  changed();
}

/** Space: the brush goes down or up. */
export function toggleBrush() {
  cursor.shown = true;
  if (cursor.down) {
    liftBrush();
    return;
  }
  beginStroke({ ...cursor });
  cursor.down = current !== null;
  changed();
}

export function liftBrush() {
  if (!cursor.down) return;
  cursor.down = false;
  endStroke();
  changed();
}

export function setTool(tool) {
  liftBrush();
  app.tool = tool;
  changed();
}

export function setBrush(size) {
  app.brush = Math.min(200, Math.max(1, Math.round(size)));
  changed();
}
