// Asks the HTTP API. An answer that is no success is thrown with its status and what the problem says.
import { session } from "/console/session.js";
import { labels } from "/console/words.js";

const PAGE_ROWS = 1000;
const PATIENCE_MS = 30_000; // longer than the gateway waits for any service

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function send(method, path, { body, token } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const { answer, text } = await fetched(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (!answer.ok) throw new ApiError(answer.status, detailOf(text) ?? `${answer.status} ${answer.statusText}`);
  return { result: text ? JSON.parse(text) : null, next: nextOf(answer) };
}

// A network may vanish without a word: nobody waits for that for ever.
async function fetched(path, options) {
  try {
    const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
    return { answer, text: await answer.text() };
  } catch (error) {
    if (error.name === "TimeoutError") throw new ApiError(0, labels.session.noResponse(PATIENCE_MS / 1000));
    throw error;
  }
}

// A gateway that is starting, or a proxy before it, may answer by a page.
function detailOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}

function nextOf(answer) {
  const found = /<([^>]+)>;\s*rel="?next/.exec(answer.headers.get("Link") ?? "");
  return found ? found[1] : null;
}

async function ask(method, path, options = {}) {
  try {
    return await send(method, path, { ...options, token: session.token });
  } catch (error) {
    if (error.status !== 401 || !(await session.renew())) throw error;
    return send(method, path, { ...options, token: session.token });
  }
}

export const get = async (path) => (await ask("GET", `/api/v1${path}`)).result;

// Without an Idempotency-Key: nothing here is sent twice, and an alert must be answered also while keys cannot be kept.
export async function post(path, body = {}) {
  return (await ask("POST", `/api/v1${path}`, { body })).result;
}

export async function patch(path, body) {
  return (await ask("PATCH", `/api/v1${path}`, { body })).result;
}

export const remove = async (path) => (await ask("DELETE", `/api/v1${path}`)).result;

// Every row of a list, page after page, up to `most`.
export async function list(path, { most = 20_000 } = {}) {
  const rows = [];
  let next = `/api/v1${path}${path.includes("?") ? "&" : "?"}limit=${Math.min(PAGE_ROWS, most)}`;
  while (next !== null && rows.length < most) {
    const page = await ask("GET", next);
    rows.push(...page.result);
    next = page.next;
  }
  return rows;
}

let described = null;

// Whether the gateway offers an operation: an older one may not.
export async function offers(method, path) {
  described ??= send("GET", "/api/v1/openapi.json");
  try {
    return method.toLowerCase() in ((await described).result.paths[`/api/v1${path}`] ?? {});
  } catch (error) {
    described = null;
    throw error;
  }
}
