// What the page asks the server, and its errors as their one line.

const PATIENCE = 60_000; // milliseconds to wait for a server that is full

const GO_ON = "Then this page goes on, with what is on it.";

export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** The JSON (or, with `blob`, the file) that a route answers. A full server is asked again when it says so. */
export async function call(method, path, { json, form, signal, blob = false, waiting = () => {} } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  for (const begin = Date.now(); ; ) {
    const answer = await sent(path, { method, headers, body, signal });
    if (answer.status === 429 && Date.now() - begin < PATIENCE) {
      waiting();
      await paused(1000 * (Number(answer.headers.get("Retry-After")) || 1), signal);
      continue;
    }
    if (!answer.ok) throw await told(answer);
    if (answer.status === 204) return null;
    return blob ? answer.blob() : answer.json();
  }
}

async function sent(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    for (const value of options.body instanceof FormData ? options.body.values() : []) if (value instanceof File) await bytesOf(value, 1);
    throw new ServerError(0, "no_answer", `The server does not answer. If it has ended, start vlseg serve again and open, in another tab, the address that it prints. ${GO_ON}`);
  }
}

/** What is in a file, or in its beginning; an error where it is not any more what was chosen. */
export async function bytesOf(file, most = file.size) {
  try {
    return await file.slice(0, most).arrayBuffer();
  } catch {
    throw new ServerError(0, "file_gone", "image: the file was moved, changed or deleted since it was chosen; choose it again");
  }
}

async function told(answer) {
  if (answer.status === 401)
    return new ServerError(401, "token_missing", `This page's time is over. Open, in another tab, the address that vlseg serve printed. ${GO_ON}`);
  const body = await answer.json().catch(() => null);
  const { code = "http", message = `the server answered ${answer.status}` } = body?.error ?? {};
  return new ServerError(answer.status, code, message);
}

function paused(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function formOf(file, fields) {
  const form = new FormData();
  form.append("image", file, "image"); // without its name, which may be a patient's
  for (const [name, values] of Object.entries(fields)) for (const value of [values].flat()) form.append(name, value);
  return form;
}

export const listModels = () => call("GET", "/v1/models");
export const wordsOf = (model) => call("GET", `/v1/models/${encodeURIComponent(model)}/words`);
export const describe = () => call("GET", "/openapi.json");
export const upload = (file, model) => call("POST", "/v1/images", { form: formOf(file, { model }) });
export const drop = (id) => fetch(`/v1/images/${id}`, { method: "DELETE", keepalive: true }).catch(() => null);
export const segment = (id, ask, more) => call("POST", `/v1/images/${id}/segment`, { json: ask, ...more });
export const segmentOnce = (file, fields, more) => call("POST", "/v1/segment", { form: formOf(file, fields), ...more });
export const exported = (id, ask) => call("POST", `/v1/images/${id}/export`, { json: ask, blob: true });
export const correct = (ask) => call("POST", "/v1/corrections", { json: ask });
