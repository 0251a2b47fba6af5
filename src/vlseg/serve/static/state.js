// What the page holds, and how its parts learn that it changed.

export const MOST_PROMPTS = 12;

export const app = {
  models: [],
  model: null, // one of `models`
  words: { words: [], prompts: [] },
  corrections: false, // whether the server keeps them
  image: null, // {file, id, model, width, height, picture, familiar, spacing, digest}
  rows: [],
  selected: null, // a row
  compare: null, // {a, b}: rows
  tool: "move", // or "add", "erase"
  brush: 12, // pixels across
  opacity: 0.45,
};

const listeners = [];
let planned = false;

/** Calls `listener` after changes, at most once a frame. */
export function onChange(listener) {
  listeners.push(listener);
}

export function changed() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    for (const listener of listeners) listener();
  });
}

export const byId = (id) => document.getElementById(id);

/** A new element: its properties, then what is in it. Names with "-" and "role" are attributes. */
export function make(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...inside);
  return element;
}

let speaking = 0;

/** Says a line to everybody: where it is seen, and by screen readers. What follows quickly replaces it. */
export function say(line, wait = 0) {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const place = byId(byId("many").hidden ? "status" : "many-status");
    if (place.textContent !== line) place.textContent = line;
  }, wait);
}

/** Shows an error as its one line. `about`: what it is about, for `settle`. */
export function complain(error, about = "") {
  if (error?.name === "AbortError") return;
  byId("error-text").textContent = error?.message ?? String(error);
  byId("error").dataset.about = about;
  byId("error").hidden = false;
}

/** Takes the error away; with `about` only one about that: an answer to a prompt says nothing of a file that was no image. */
export function settle(about = null) {
  if (about === null || byId("error").dataset.about === about) byId("error").hidden = true;
}
