// Many images, the same prompts: a table, and a file of it.

import { segmentOnce } from "./api.js";
import { droppedFiles, imagesAmong, openImage } from "./image.js";
import { LOOKS, swatch } from "./looks.js";
import { download } from "./save.js";
import { app, byId, complain, make, MOST_PROMPTS, say, settle } from "./state.js";
import { pictureFor, thumb } from "./thumbs.js";
import { areaWords, BADGES, presenceNumber } from "./words.js";

const AT_ONCE = 3; // requests: the server puts images that come together into one batch
const NOTICE = "Research use, not a medical device.";
let files = [];
let results = []; // {name, file, prompt, state, area, mm2, presence, ..., row: its line in the table}
let asked = { key: "", prompts: [], model: "" }; // what the results answer
let order = { by: "name", down: false };
let running = null; // an AbortController
let opened = null; // the button of the image that was opened last
let planned = false;

export function wireBatch() {
  const inputs = ["many-files", "many-folder"].map(byId);
  for (const input of inputs)
    input.addEventListener("change", () => {
      take([...input.files]);
      for (const other of inputs) if (other !== input) other.value = ""; // else it would still say how many it has
    });
  const area = byId("many");
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("drop", async (event) => {
    event.preventDefault();
    take(await droppedFiles(event.dataTransfer));
    for (const input of inputs) input.value = "";
  });
  byId("batch").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("many-stop").addEventListener("click", () => running?.abort());
  byId("many-csv").addEventListener("click", () => download(new Blob([csv(results)], { type: "text/csv" }), "masks.csv"));
  for (const button of document.querySelectorAll("#results th button"))
    button.addEventListener("click", () => {
      const by = button.dataset.by;
      order = { by, down: order.by === by && !order.down };
      showTable();
    });
}

function take(chosen) {
  files = imagesAmong(chosen).sort((a, b) => nameOf(a).localeCompare(nameOf(b), "en", { numeric: true }));
  const other = chosen.length - files.length;
  byId("many-chosen").textContent = `${files.length} ${files.length === 1 ? "image" : "images"}` + (other ? `; ${other} other ${other === 1 ? "file is" : "files are"} left out` : "");
  byId("many-run").disabled = running !== null || files.length === 0;
}

const nameOf = (file) => file.place || file.webkitRelativePath || file.name;

async function run() {
  const prompts = [...new Set(byId("many-prompts").value.split("\n").filter((line) => line.trim()))];
  if (!prompts.length) return complain(new Error("prompts: type one a line"));
  if (prompts.length > MOST_PROMPTS) return complain(new Error(`prompts: ${prompts.length} lines, at most ${MOST_PROMPTS} at once; remove some`));
  settle();
  running = new AbortController();
  const total = files.length;
  const waiting = begin(prompts);
  const work = async () => {
    for (let file; !running.signal.aborted && (file = waiting.shift()); ) {
      results.push(...(await answered(file, prompts)));
      showRunning(total - waiting.length, total);
      planTable();
    }
  };
  showRunning(total - waiting.length, total);
  planTable();
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const [stopped, failed] = [running.signal.aborted, results.filter((one) => one.error).length];
  running = null;
  showRunning(total, total);
  const done = new Set(results.map((one) => one.file)).size;
  const more = failed ? `, ${failed} without an answer` : "";
  say(`${stopped ? "Stopped" : "Done"}: ${done} of ${total} images${more}.${stopped ? " “Segment” goes on with the others." : ""}`);
}

/** The images to ask about: of the same model and prompts as before those that have no answer yet. */
function begin(prompts) {
  const key = JSON.stringify([app.model.name, prompts]);
  const here = new Set(files);
  results = results.filter((one) => asked.key === key && !one.error && here.has(one.file));
  const have = new Set(results.map((one) => one.file));
  if (have.size === files.length) {
    results = [];
    have.clear();
  }
  asked = { key, prompts, model: app.model.name };
  return files.filter((file) => !have.has(file));
}

async function answered(file, prompts) {
  const name = nameOf(file);
  try {
    const answer = await segmentOnce(file, { prompts, model: asked.model }, { signal: running.signal });
    const picture = await pictureFor(file, answer);
    return await Promise.all(answer.results.map(async (one, at) => ({
      name, file, prompt: one.prompt, state: one.state, area: one.area_px, mm2: one.area_mm2, spacing: answer.spacing_mm,
      presence: one.presence, threshold: one.threshold, unknown: one.unknown_words, familiar: answer.familiar,
      model: answer.model, digest: answer.digest, error: "", ...(await drawn(picture, one.mask, at)),
    })));
  } catch (error) {
    if (error.name === "AbortError") return [];
    if (["no_answer", "token_missing"].includes(error.code)) {
      complain(error); // so will it be with all others
      running.abort();
      return [];
    }
    return [{ name, file, prompt: prompts.join("; "), state: "", error: error.message }];
  }
}

async function drawn(picture, mask, at) {
  const look = LOOKS[at % LOOKS.length];
  return { look, thumb: await thumb(picture, mask, look) };
}

function showRunning(done, total) {
  byId("many-run").disabled = running !== null;
  byId("many-stop").disabled = running === null;
  byId("many-progress").hidden = running === null;
  Object.assign(byId("many-progress"), { max: total, value: done });
  if (running && done % 10 === 0) say(`${done} of ${total} images are sent.`);
}

const KEYS = {
  name: (one) => one.name,
  prompt: (one) => one.prompt,
  state: (one) => one.state || "~",
  area: (one) => one.area ?? -1,
  presence: (one) => one.presence?.score ?? -1,
};

function sorted() {
  const key = KEYS[order.by];
  const sign = order.down ? -1 : 1;
  const apart = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  return [...results].sort((a, b) => sign * apart(key(a), key(b)));
}

/** At most once a frame: an image's answer may come quicker. */
function planTable() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    showTable();
  });
}

/** What is here for the chosen model: targets, where it reads no text. */
export function showBatch() {
  const { reads_text: reads, targets } = app.model;
  byId("many-known").hidden = reads;
  byId("many-known").textContent = reads ? "" : `This model reads no text. It knows: ${targets.join(", ")}.`;
}

/** The table is seen again: where the image is that was opened from it. */
export function backToTable() {
  if (!opened?.isConnected) return;
  opened.scrollIntoView({ block: "center" });
  opened.focus({ preventScroll: true });
}

function showTable() {
  byId("results").hidden = results.length === 0;
  byId("many-csv").disabled = results.length === 0;
  for (const button of document.querySelectorAll("#results th button")) {
    const here = button.dataset.by === order.by;
    button.closest("th").setAttribute("aria-sort", !here ? "none" : order.down ? "descending" : "ascending");
  }
  byId("results-body").replaceChildren(...sorted().map((one) => (one.row ??= line(one))));
}

function line(one) {
  const open = make("button", { type: "button", className: "link", title: "Open this image" }, one.thumb ?? "", make("span", { textContent: one.name }));
  open.addEventListener("click", () => {
    opened = open;
    location.hash = "#one";
    openImage(one.file, asked.prompts);
  });
  const reasons = one.error || (one.familiar?.reasons ?? []).join("; ");
  const { score = null, calibrated = false, n = null } = one.presence ?? {};
  const cells = [
    one.prompt + (one.unknown?.length ? ` (rare or absent in training: ${one.unknown.join(", ")})` : ""),
    (BADGES[one.state] ?? "No answer") + (reasons ? `: ${reasons}` : ""),
    one.state ? areaWords(one.area, one.spacing) : "",
    score === null ? "" : `${presenceNumber(score)}${calibrated ? ` (n = ${n})` : " (score)"}`,
  ];
  const row = make("tr", {}, make("th", { scope: "row" }, open), ...cells.map((text) => make("td", { textContent: text })));
  if (one.look) row.children[1].prepend(swatch(one.look, 14), " ");
  row.dataset.state = one.state || "error";
  return row;
}

const COLUMNS = {
  image: (one) => safe(one.name),
  prompt: (one) => safe(one.prompt),
  state: (one) => one.state,
  area_px: (one) => one.area ?? "",
  area_mm2: (one) => one.mm2 ?? "",
  presence_score: (one) => one.presence?.score ?? "",
  presence_calibrated: (one) => one.presence?.calibrated ?? "",
  presence_n: (one) => one.presence?.n ?? "",
  threshold: (one) => one.threshold ?? "",
  familiar: (one) => one.familiar?.state ?? "",
  reasons: (one) => (one.familiar?.reasons ?? []).join("; "),
  unknown_words: (one) => safe((one.unknown ?? []).join(" ")),
  model: (one) => one.model ?? "",
  digest: (one) => one.digest ?? "",
  error: (one) => safe(one.error),
  notice: () => NOTICE,
};

/** A spreadsheet takes a cell that begins so for a formula. */
const safe = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);

function csv(lines) {
  const quoted = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const rows = [Object.keys(COLUMNS), ...lines.map((one) => Object.values(COLUMNS).map((value) => value(one)))];
  return rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}
