// Follows one job's event log to its end, over as many connections as that takes.

import { Pause } from "./pause.js";
import { afterConnection } from "./plan.js";
import { problemOf } from "./problem.js";
import { SseParser } from "./sse.js";

export const TERMINAL = new Set(["job_complete", "job_error", "job_cancelled"]);
const SILENT_HEARTBEATS = 2;

export class Follower {
  /** Connections that were opened after the first one. */
  reconnects = 0;
  #opened = 0;
  #pause = new Pause();
  #connection = null;
  #closed = false;
  #retryBase = 1000;
  #lastByteAt = 0;

  /**
   * `onEvents(events, at)` gets each `{seq, event, data}` once and in order; `onState({phase, ...})` tells
   * how the connection stands: connecting, live, waiting.
   */
  constructor({ streamUrl, cursor = 0, heartbeat = 3, onEvents, onState = () => {} }) {
    this.url = new URL(streamUrl, location.origin);
    this.url.searchParams.set("heartbeat", heartbeat);
    this.heartbeatMs = heartbeat * 1000;
    this.cursor = cursor;
    this.onEvents = onEvents;
    this.onState = onState;
  }

  /** Resolves with `{reason, problem?}`: terminal, ended, expired, gone, signed_out, refused, closed. */
  async run() {
    let failures = 0;
    while (!this.#closed) {
      const before = this.cursor;
      this.#tell("connecting", { failures });
      const outcome = await this.#connect();
      if (this.#closed) break;
      if (this.cursor > before) failures = 0;
      const next = afterConnection(outcome, failures, { base: this.#retryBase });
      if (next.stop) return { reason: next.stop, problem: outcome.problem };
      failures += 1;
      this.#tell("waiting", { failures, cause: outcome.kind, waitMs: next.waitMs });
      await this.#pause.wait(next.waitMs);
    }
    return { reason: "closed" };
  }

  /** The network or the window came back: do not wait any longer, and do not trust a quiet connection. */
  nudge() {
    this.#pause.end();
    if (performance.now() - this.#lastByteAt > this.heartbeatMs * 1.5) this.#connection?.abort();
  }

  close() {
    this.#closed = true;
    this.#pause.end();
    this.#connection?.abort();
  }

  #tell(phase, more) {
    this.onState({ phase, cursor: this.cursor, reconnects: this.reconnects, ...more });
  }

  async #connect() {
    const connection = (this.#connection = new AbortController());
    const stopWatch = this.#watchForSilence(connection);
    try {
      const response = await orCut(fetch(this.url, this.#request(connection.signal)));
      this.#lastByteAt = performance.now();
      if (!isStream(response)) return await refusal(response);
      this.#hasOpened(response);
      return await this.#read(response.body.getReader());
    } catch (error) {
      if (!(error instanceof Cut)) throw error;
      return { kind: connection.signal.aborted ? "silent" : "broken" };
    } finally {
      stopWatch();
      connection.abort();
      this.#connection = null;
    }
  }

  #request(signal) {
    const headers = { Accept: "text/event-stream" };
    if (this.cursor > 0) headers["Last-Event-ID"] = String(this.cursor);
    return { headers, signal, cache: "no-store", credentials: "same-origin" };
  }

  #hasOpened(response) {
    this.reconnects = this.#opened;
    this.#opened += 1;
    this.#tell("live", { node: response.headers.get("X-Okome-Node") });
  }

  async #read(reader) {
    const parser = new SseParser();
    for (;;) {
      const { done, value } = await orCut(reader.read());
      if (done) return { kind: "clean" };
      this.#lastByteAt = performance.now();
      const ended = this.#take(parser.push(value));
      if (parser.retry !== null) this.#retryBase = parser.retry;
      if (ended) return { kind: ended };
    }
  }

  /** Hands new events on; says how the connection has to end, if it has to. */
  #take(blocks) {
    const fresh = [];
    let ended = null;
    for (const block of blocks) {
      const seq = /^\d+$/.test(block.id) ? Number(block.id) : 0;
      if (seq <= this.cursor) continue;
      const data = parsed(block.data);
      // Text with a hole in it is never shown: reading again from the cursor heals it.
      if (seq !== this.cursor + 1 || !data) {
        ended = "damaged";
        break;
      }
      this.cursor = seq;
      fresh.push({ seq, event: block.event, data });
      if (TERMINAL.has(block.event)) ended = "terminal";
      if (ended) break;
    }
    if (fresh.length) this.onEvents(fresh, this.#lastByteAt);
    return ended;
  }

  /** Any byte is life. Timers sleep with the machine, so the clock is asked and not the timer. */
  #watchForSilence(connection) {
    const limit = this.heartbeatMs * SILENT_HEARTBEATS;
    this.#lastByteAt = performance.now();
    let timer = 0;
    const look = () => {
      const left = this.#lastByteAt + limit - performance.now();
      if (left <= 0) connection.abort();
      else timer = setTimeout(look, left);
    };
    look();
    return () => clearTimeout(timer);
  }
}

/** The network's own failure, told apart from a fault of this page, which must not be taken for one. */
class Cut extends Error {}

function orCut(promise) {
  return promise.catch(() => Promise.reject(new Cut()));
}

function isStream(response) {
  return response.status === 200 && (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
}

async function refusal(response) {
  const problem = response.status >= 400 ? await problemOf(response) : null;
  return { kind: "refused", status: response.status, problem };
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
