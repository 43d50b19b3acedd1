// Calls of the service's public API, with the visitor's key.

import { key, refusal } from "./session.js";

/** The service's address, wherever a proxy has put it. */
export const ROOT = new URL("../", document.baseURI);

/** An error of the API, in its own sentence. `code` is null when no answer came. */
export class Problem extends Error {
  constructor({ detail, code = null, status = 0, field = null, retryable = false, requestId = null }) {
    super(detail);
    this.name = "Problem";
    Object.assign(this, { code, status, field, retryable, requestId });
  }
}

const ahead = new Map();

/** Ask for a path with GET before a view does: the next call of it takes this answer. */
export function callAhead(path) {
  const asked = { key: key.value, response: send("GET", path) };
  asked.response.catch(() => {}); // the call that takes it sees the problem
  ahead.set(path, asked);
}

/** The response that was asked for ahead with the same key, once; undefined without one. */
function taken(method, path) {
  const asked = method === "GET" ? ahead.get(path) : undefined;
  ahead.delete(path);
  return asked?.key === key.value ? asked.response : undefined;
}

/** Send one request and return its JSON. Throws Problem; AbortError when `signal` aborts. */
export async function call(method, path, { body, signal, deadlineMs } = {}) {
  const response = await (taken(method, path) ?? send(method, path, { body, signal, deadlineMs }));
  if (response.status === 204) return null;
  return read(response);
}

/** Send one request and return the response, which is a success. Throws Problem. */
export async function send(method, path, { body, signal, deadlineMs, accept } = {}) {
  const headers = { Accept: accept ?? "application/json" };
  if (key.value) headers.Authorization = `Bearer ${key.value}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (deadlineMs) headers["X-Deadline-Ms"] = String(deadlineMs);
  let response;
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), ROOT), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      detail: `The service at ${ROOT.host} does not answer: check that it runs.`,
      retryable: true,
    });
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401) refusal.value = problem;
  throw problem;
}

async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      detail: "The answer is not JSON: another program than the memory service answers here.",
      status: response.status,
    });
  }
}

async function problemOf(response) {
  const requestId = response.headers.get("x-request-id");
  let told = {};
  try {
    told = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  return new Problem({
    detail: told.detail || `The service answered with status ${response.status}.`,
    code: told.code ?? null,
    status: response.status,
    field: told.field ?? null,
    retryable: told.retryable ?? false,
    requestId: told.request_id ?? requestId,
  });
}

/** Return a path with names put in, a slash in a name being part of it. */
export function path(parts, ...names) {
  return parts.reduce(
    (whole, part, i) => whole + part + (i < names.length ? encodeURIComponent(names[i]) : ""),
    "",
  );
}
