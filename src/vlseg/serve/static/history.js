// Undo and redo of corrections and removed prompts.

import { changed, say } from "./state.js";

const MOST = 200;
let done = [];
let undone = [];

/** A thing that was done: {name, undo(), redo()}. */
export function remember(step) {
  done.push(step);
  if (done.length > MOST) done.shift();
  undone = [];
  changed();
}

export function undo() {
  const step = done.pop();
  if (!step) return;
  step.undo();
  undone.push(step);
  say(`Undone: ${step.name}`);
  changed();
}

export function redo() {
  const step = undone.pop();
  if (!step) return;
  step.redo();
  done.push(step);
  say(`Done again: ${step.name}`);
  changed();
}

export function clearHistory() {
  done = [];
  undone = [];
}

export const canUndo = () => done.length > 0;
export const canRedo = () => undone.length > 0;
