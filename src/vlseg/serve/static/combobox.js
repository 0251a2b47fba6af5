// A text field with suggestions, by the ARIA pattern "editable combobox with list autocomplete".

import { app, make } from "./state.js";

const MOST = 5;

/** {box, input} of a new field. `onInput(text)` while typing, `onEnter()` when a text is settled. */
export function combobox({ id, label, value, onInput, onEnter }) {
  const list = make("ul", { id: `${id}-list`, role: "listbox", "aria-label": "Prompts of the model's training", hidden: true });
  const input = make("input", {
    id, value, type: "text", role: "combobox", autocomplete: "off", maxLength: 500, spellcheck: false,
    placeholder: "Type what to segment", "aria-label": label, "aria-autocomplete": "list", "aria-expanded": "false",
    "aria-controls": list.id,
  });
  let active = -1;

  function open(texts) {
    list.replaceChildren(...texts.map((text, at) => make("li", { id: `${id}-${at}`, role: "option", "aria-selected": "false", textContent: text })));
    list.hidden = texts.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    point(-1);
  }

  function point(at) {
    active = at;
    [...list.children].forEach((one, number) => one.setAttribute("aria-selected", String(number === at)));
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function pick(at) {
    input.value = list.children[at].textContent;
    open([]);
    onInput(input.value);
    onEnter();
  }

  input.addEventListener("input", () => {
    open(suggestions(input.value));
    onInput(input.value);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const count = list.hidden ? 0 : list.children.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (input.readOnly) return;
      event.preventDefault();
      if (!count) open(suggestions(input.value));
      const last = list.children.length - 1;
      if (last >= 0 && !list.hidden) point(event.key === "ArrowDown" ? (active >= last ? 0 : active + 1) : active <= 0 ? last : active - 1);
    } else if (event.key === "Escape" && count) {
      event.preventDefault();
      open([]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (count && active >= 0) return pick(active);
      open([]);
      onEnter();
    }
  });
  input.addEventListener("blur", () => open([]));
  list.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const option = event.target.closest("[role=option]");
    if (option) pick([...list.children].indexOf(option));
  });
  return { box: make("div", { className: "combo" }, input, list), input };
}

/** Prompts of the training and targets: those that begin with the text, then those that have its words; all for nothing. */
function suggestions(text) {
  const prompts = [...app.words.prompts, ...app.model.targets];
  const typed = text.trim().toLowerCase();
  const words = typed.split(/\s+/);
  const begins = prompts.filter((one) => one.toLowerCase().startsWith(typed));
  const has = prompts.filter((one) => words.every((word) => one.toLowerCase().includes(word)));
  return [...new Set([...begins, ...has])].filter((one) => one !== text).slice(0, MOST);
}
