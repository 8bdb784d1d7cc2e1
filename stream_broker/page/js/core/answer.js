// An answer is what its events make of it. Plain data, so that text and cursor are stored as one.

export const UNFINISHED = new Set(["sending", "running"]);
const MOST_NOTICES = 20;

export function newQuestion(id, text) {
  return { id, role: "user", text };
}

/** `wanted` names the tools of the server that the answer may use; `tools` are the calls that it made. */
export function newAnswer({ id, key, model, wanted = [], sentAt }) {
  return {
    id, role: "assistant", model, key, wanted, status: "sending", stopping: false, jobId: null, streamUrl: null, cursor: 0,
    text: "", reasoning: "", tools: [], notices: [], error: null, finishReason: null, usage: null,
    stats: { sentAt, ttftMs: null, pieces: 0, firstTs: null, lastTs: null, stalls: 0, reconnects: 0, metrics: null },
  };
}

export const isUnfinished = (message) => UNFINISHED.has(message.status);

const APPLY = {
  token: (answer, { token = "", ts }) => {
    answer.text += token;
    count(answer.stats, ts);
  },
  reasoning: (answer, { reasoning = "", ts }) => {
    answer.reasoning += reasoning;
    count(answer.stats, ts);
  },
  tool_call: (answer, { id, name, arguments: given }) => {
    answer.tools.push({ id, name, given: shown(given), ok: null, content: null });
  },
  tool_result: (answer, { id, name, ok, content }) => {
    const call = answer.tools.find((tool) => tool.id === id && tool.ok === null);
    const result = { ok: Boolean(ok), content: shown(content) };
    if (call) Object.assign(call, result);
    else answer.tools.push({ id, name, given: "", ...result });
  },
  notice: (answer, { code, message }) => {
    if (answer.notices.length < MOST_NOTICES) answer.notices.push({ code, message });
  },
  job_complete: (answer, { finish_reason: reason, usage, metrics }) => {
    answer.status = "completed";
    answer.finishReason = reason ?? null;
    answer.usage = usage ?? null;
    answer.stats.metrics = metrics ?? null;
  },
  job_error: (answer, { code, message, retryable, usage }) => {
    answer.usage = usage ?? null;
    fail(answer, { code, message, retryable });
  },
  job_cancelled: (answer, { reason, usage }) => {
    answer.status = "cancelled";
    answer.finishReason = reason ?? "client";
    answer.usage = usage ?? null;
  },
};

/** Takes one event of the log. Unknown kinds only move the cursor: a newer server may send them. */
export function apply(answer, { seq, event, data }) {
  if (seq <= answer.cursor) return;
  answer.cursor = seq;
  APPLY[event]?.(answer, data);
}

export function fail(answer, { code, message, retryable }) {
  answer.status = "failed";
  answer.error = { code: code ?? "internal", message: message || "The answer failed.", retryable: Boolean(retryable) };
}

/** Takes over the job's record, where the log itself can no longer be read. */
export function settleFromRecord(answer, record) {
  if (typeof record.text === "string") answer.text = record.text;
  answer.cursor = Math.max(answer.cursor, record.last_seq ?? 0);
  answer.usage = record.usage ?? answer.usage;
  answer.finishReason = record.finish_reason ?? answer.finishReason;
  if (record.status === "failed") fail(answer, record.error ?? {});
  else answer.status = record.status === "cancelled" ? "cancelled" : "completed";
  if (typeof record.text !== "string") fail(answer, { ...EXPIRED });
}

const EXPIRED = {
  code: "log_expired",
  message: "The rest of this answer is no longer kept by the server.",
  retryable: true,
};

/** Tokens per second, by the broker's clock: the same before and after a reload or a cut. */
export function tokensPerSecond({ stats }) {
  if (stats.metrics?.tokens_per_second) return stats.metrics.tokens_per_second;
  const seconds = stats.lastTs - stats.firstTs;
  // The first few say nothing yet.
  return seconds > 0.5 ? (stats.pieces - 1) / seconds : null;
}

function count(stats, ts) {
  stats.pieces += 1;
  if (typeof ts !== "number") return;
  stats.firstTs ??= ts;
  stats.lastTs = ts;
}

function shown(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
