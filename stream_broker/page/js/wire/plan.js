// What to do after a connection ended or a request was refused. Pure: no clock, no network.

import { mayPass } from "./problem.js";

const CAP_MS = 8000;
const FIRST_MS = 200;
const LONGEST_WISH_MS = 60_000;
const SEND_TRIES = 5;
const SEND_PATIENCE_MS = 10_000;

/**
 * How long to wait before try number `failures` + 1. The first return is nearly immediate, since most
 * cuts are one dead broker among several; the jitter keeps a crowd from coming back in step.
 */
export function backoff(failures, { base = 1000, random = Math.random } = {}) {
  if (failures === 0) return random() * FIRST_MS;
  const ceiling = Math.min(CAP_MS, base * 2 ** Math.min(failures - 1, 16));
  return ceiling * (0.5 + random() / 2);
}

/**
 * After one connection of a stream: `{stop: reason}` or `{waitMs}`.
 *
 * Outcomes: `terminal` (the job's last event came), `clean` (ended between blocks), `broken` (network),
 * `silent` (no byte for two heartbeats), `damaged` (a hole or no JSON), `refused` (any answer but a stream).
 */
export function afterConnection(outcome, failures, options = {}) {
  if (outcome.kind === "terminal") return { stop: "terminal" };
  if (outcome.kind === "refused") return afterRefusal(outcome, failures, options);
  const atOnce = failures === 0 && (outcome.kind === "clean" || outcome.kind === "silent");
  return { waitMs: atOnce ? 0 : backoff(failures, options) };
}

function afterRefusal({ status, problem }, failures, options) {
  if (status === 204) return { stop: "ended" };
  if (status === 401) return { stop: "signed_out" };
  if (status === 404) return { stop: "gone" };
  if (status === 410 || problem?.code === "bad_cursor") return { stop: "expired" };
  // 421: a job without a shared log, whose home may come back; a 200 that is no stream: some portal in between.
  const wait = mayPass(status) || status === 421 || status < 400;
  if (!wait) return { stop: "refused" };
  return { waitMs: wishOr(problem?.retryAfterMs, backoff(failures, options)) };
}

/** After a refused `POST /v1/jobs`: ms to wait before the same request with the same key, or null to give up. */
export function resendAfter(problem, failures, options = {}) {
  // Without an answer the job may exist already, and only the same key can tell.
  if (problem.unanswered) return backoff(failures, options);
  if (!problem.retryable || failures + 1 >= SEND_TRIES) return null;
  if (problem.code === "quota_exceeded" || problem.retryAfterMs > SEND_PATIENCE_MS) return null;
  return wishOr(problem.retryAfterMs, backoff(failures, options));
}

function wishOr(wishMs, otherwiseMs) {
  return wishMs === null || wishMs === undefined ? otherwiseMs : Math.min(wishMs, LONGEST_WISH_MS);
}
