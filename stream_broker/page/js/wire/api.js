// The calls of the wire, one function each. Every failure is a Problem.

import { Problem, problemOf, unanswered } from "./problem.js";

// A request that met a dying node is worth more repeated than waited for.
const TIME_LIMIT_MS = 10_000;

async function call(method, path, { json, headers = {}, keepalive = false } = {}) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), TIME_LIMIT_MS);
  const init = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  Object.assign(init, { cache: "no-store", keepalive, signal: limit.signal });
  if (json !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(json);
  }
  try {
    const response = await fetch(path, init).catch((error) => Promise.reject(unanswered(error)));
    if (!response.ok) throw await problemOf(response);
    const text = await response.text().catch((error) => Promise.reject(unanswered(error)));
    return text ? parsed(text, response.status) : null;
  } finally {
    clearTimeout(timer);
  }
}

function parsed(text, status) {
  try {
    return JSON.parse(text);
  } catch {
    // A portal or proxy that answers in the server's place: the server itself was not reached.
    throw new Problem({ status: 0, code: "not_json", message: `Something else answered in the server's place (${status}).` });
  }
}

export const createJob = (job, key) =>
  call("POST", "/v1/jobs", { json: job, headers: { "Idempotency-Key": `"${key}"` } });

export const readJob = (jobId) => call("GET", `/v1/jobs/${encodeURIComponent(jobId)}`);

export const cancelJob = (jobId) => call("POST", `/v1/jobs/${encodeURIComponent(jobId)}/cancel`);

export async function listModels() {
  const { data = [] } = (await call("GET", "/v1/models")) ?? {};
  return data.map((model) => model.id);
}

export async function listTools() {
  const { data = [] } = (await call("GET", "/v1/tools")) ?? {};
  return data;
}

export const reportTelemetry = (report) => call("POST", "/v1/telemetry", { json: report, keepalive: true });

/** Where the control plane does not make a login of it, the token is good for what is left of its hour. */
export async function enter(token) {
  try {
    return await call("POST", "/auth/enter", { json: { token } });
  } catch {
    return call("POST", "/v1/enter", { json: { token } });
  }
}

/** `{api_key}` or `{name, password}`. */
/** `oidc`: the page that signs in at an issuer, null where there is none. */
export const signInOptions = () => call("GET", "/auth/options");

export const login = (credentials) => call("POST", "/auth/login", { json: credentials });

/** `everywhere`: on all devices of the person. */
export const logout = (everywhere) => call("POST", "/auth/logout", everywhere ? { json: { everywhere } } : {});

export const whoAmI = () => call("GET", "/auth/session");

export const renewSession = () => call("POST", "/auth/refresh");

export const readQuota = () => call("GET", "/v1/quota");

const PAGE = 100;
const conversation = (id) => `/v1/sessions/${encodeURIComponent(id)}`;
const from = (before) => (before ? `&before=${encodeURIComponent(before)}` : "");

export const listConversations = (before) => call("GET", `/v1/sessions?limit=${PAGE}${from(before)}`);

export const readConversation = (id, before) => call("GET", `${conversation(id)}?limit=${PAGE}${from(before)}`);

export const renameConversation = (id, title) => call("PATCH", conversation(id), { json: { title } });

export const deleteConversation = (id) => call("DELETE", conversation(id));
