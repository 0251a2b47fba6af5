// The page: its parts put together.

import { describe, drop, listModels, wordsOf } from "./api.js";
import { backToTable, showBatch, wireBatch } from "./batch.js";
import { brushing, cursor, setBrush, setTool } from "./brush.js";
import { differenceLayers, showCompare, wireCompare } from "./compare.js";
import { canRedo, canUndo, redo, undo } from "./history.js";
import { droppedFiles, imagesAmong, openAgain, openImage } from "./image.js";
import { listen, STEP } from "./input.js";
import { askLost, newRow } from "./prompts.js";
import { rebuildRows, showRows, wireRows } from "./rows.js";
import { showSave, wireSave } from "./save.js";
import { openSession } from "./session.js";
import { app, byId, changed, complain, make, onChange, say, settle } from "./state.js";
import { draw, fit, zoomBy } from "./view.js";
import { familiarSentence } from "./words.js";

const CANVASES = ["a", "difference", "b"];
const canvasOf = (name) => byId(`canvas-${name}`);

async function begin() {
  wireTop();
  wireStage();
  wireRows();
  wireCompare();
  wireSave();
  wireBatch();
  onChange(show);
  const [{ models }, description] = await Promise.all([listModels(), describe()]);
  app.models = models;
  app.corrections = "/v1/corrections" in description.paths;
  byId("model").replaceChildren(...models.map((one) => make("option", { value: one.name, textContent: one.name })));
  await choose(models.find((one) => one.default) ?? models[0]);
  newRow();
  document.body.dataset.ready = "";
}

let choosing = 0;

/** Another model for the open image; where that fails the one before stays. */
async function choose(model) {
  const mine = ++choosing;
  const words = await wordsOf(model.name);
  if (mine !== choosing) return;
  const before = { model: app.model, words: app.words };
  put({ model, words });
  if (before.model && !(await openAgain()) && app.model === model) put(before);
}

function put({ model, words }) {
  Object.assign(app, { model, words });
  byId("model").value = model.name;
  byId("licence").textContent = model.licence ? `Licence of the weights: ${model.licence}` : "";
  rebuildRows();
}

function wireTop() {
  const scheme = byId("colours");
  scheme.value = document.documentElement.dataset.colours ?? "system";
  scheme.addEventListener("change", () => {
    if (scheme.value === "system") {
      delete document.documentElement.dataset.colours;
      localStorage.removeItem("vlseg-colours");
    } else {
      document.documentElement.dataset.colours = scheme.value;
      localStorage.setItem("vlseg-colours", scheme.value);
    }
  });
  byId("model").addEventListener("change", (event) => {
    choose(app.models.find((one) => one.name === event.target.value)).catch((error) => {
      event.target.value = app.model.name;
      complain(error);
    });
  });
  byId("error-close").addEventListener("click", () => settle());
  window.addEventListener("hashchange", showPart);
  showPart();
}

/** One image, or many, by what stands behind "#". */
function showPart() {
  const many = location.hash === "#many";
  byId("one").hidden = many;
  byId("many").hidden = !many;
  for (const [id, here] of [["to-one", !many], ["to-many", many]]) {
    if (here) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  if (many) backToTable();
  changed();
}

function wireStage() {
  for (const name of CANVASES) {
    listen(canvasOf(name));
    new ResizeObserver(changed).observe(canvasOf(name));
  }
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) open(file);
    event.target.value = "";
  });
  for (const id of ["choose", "choose-other"]) byId(id).addEventListener("click", () => byId("file").click());
  const part = byId("one");
  part.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("stage").dataset.over = "";
  });
  part.addEventListener("dragleave", () => delete byId("stage").dataset.over);
  part.addEventListener("drop", async (event) => {
    event.preventDefault();
    delete byId("stage").dataset.over;
    const files = await droppedFiles(event.dataTransfer);
    if (files.length > 1) complain(new Error(`image: ${files.length} files were dropped; drop one here, or go to “Many images”`));
    else if (files.length) open(files[0]);
  });
  document.addEventListener("paste", (event) => {
    const [file] = imagesAmong(event.clipboardData?.files ?? []);
    if (!file || byId("one").hidden) return;
    event.preventDefault();
    open(file);
  });
  wireTools();
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault()); // beside the image
  window.addEventListener("beforeunload", (event) => app.rows.some((row) => row.edit) && event.preventDefault());
  window.addEventListener("focus", askLost);
  window.addEventListener("pagehide", () => app.image && drop(app.image.id));
}

function open(file) {
  if (/\.json$/i.test(file.name) || file.type === "application/json") openSession(file);
  else openImage(file);
}

function wireTools() {
  for (const input of document.querySelectorAll("input[name=tool]")) input.addEventListener("change", () => setTool(input.value));
  byId("brush").addEventListener("input", (event) => setBrush(event.target.valueAsNumber));
  byId("opacity").addEventListener("input", (event) => {
    app.opacity = event.target.valueAsNumber / 100;
    changed();
  });
  byId("undo").addEventListener("click", undo);
  byId("redo").addEventListener("click", redo);
  const zooms = { "zoom-in": STEP, "zoom-out": 1 / STEP };
  for (const [id, factor] of Object.entries(zooms))
    byId(id).addEventListener("click", () => {
      zoomBy(canvasOf("a"), app.image, factor);
      changed();
    });
  byId("fit").addEventListener("click", () => {
    fit(app.image);
    changed();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("input[type=text], textarea")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
  });
}

function show() {
  if (!app.model) return;
  const image = app.image;
  byId("empty").hidden = image !== null;
  byId("panes").hidden = byId("tools").hidden = image === null;
  showRows();
  showCompare();
  showSave();
  showBatch();
  byId("brush").value = app.brush;
  byId("brush-value").textContent = `${app.brush} px`;
  byId("opacity-value").textContent = `${Math.round(app.opacity * 100)} %`;
  byId("undo").disabled = !canUndo();
  byId("redo").disabled = !canRedo();
  for (const input of document.querySelectorAll("input[name=tool]")) {
    input.checked = input.value === app.tool;
    input.disabled = app.compare !== null;
  }
  const warning = image ? familiarSentence(image.familiar) : "";
  byId("familiar").hidden = !warning;
  byId("familiar").textContent = warning;
  byId("familiar").dataset.state = image?.familiar.state ?? "";
  if (image) showPictures(image);
}

function showPictures(image) {
  const ring = brushing() && cursor.shown ? { x: cursor.x, y: cursor.y, radius: app.brush / 2 } : null;
  const layer = (row) => ({ path: row.path, look: row.look, broken: row.state === "cannot_judge" });
  const there = (rows) => rows.filter((row) => row.path && row.visible).map(layer);
  const options = { opacity: app.opacity, ring };
  for (const name of CANVASES) canvasOf(name).dataset.tool = brushing() ? "brush" : "move";
  if (!app.compare) {
    const others = app.rows.filter((row) => row !== app.selected);
    draw(canvasOf("a"), image, there(app.selected ? [...others, app.selected] : others), options);
    canvasOf("a").setAttribute("aria-label", `Image, ${image.width} × ${image.height} pixels, with the masks`);
    return;
  }
  const { a, b } = app.compare;
  draw(canvasOf("a"), image, there([{ ...a, visible: true }]), options);
  draw(canvasOf("b"), image, there([{ ...b, visible: true }]), options);
  draw(canvasOf("difference"), image, differenceLayers(), options);
  canvasOf("a").setAttribute("aria-label", `Image with the mask of A, “${a.prompt}”`);
  canvasOf("b").setAttribute("aria-label", `Image with the mask of B, “${b.prompt}”`);
}

begin().catch((error) => {
  complain(error);
  say("");
});
