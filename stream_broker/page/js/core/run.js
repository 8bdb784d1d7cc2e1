// Brings one answer to its end: sends the question, follows the log, and can start from any state it was left in.

import * as api from "../wire/api.js";
import { Follower } from "../wire/follow.js";
import { Pause } from "../wire/pause.js";
import { backoff, resendAfter } from "../wire/plan.js";
import { apply, fail, isUnfinished, settleFromRecord } from "./answer.js";
import { Arrivals } from "./arrivals.js";
import { messagesFor } from "./prompt.js";
import { Throttle } from "./throttle.js";

const SAVE_EVERY_MS = 500;
// The server forgets idempotency keys after 24 h; past that, asking again could start the answer anew.
const KEY_LIFE_MS = 23 * 3600 * 1000;

export class Run {
  #follower = null;
  #pause = new Pause();
  #arrivals = new Arrivals();
  #closed = false;
  #earlier;
  #saving;

  /**
   * `answer` is changed in place; `chatId` names its conversation to the server. `save()` stores it; `onChange(answer, events)` is told of everything that
   * a person may see, `onConnection(state)` of how the connection stands.
   */
  constructor({ chatId, answer, messages, session, save, onChange, onConnection }) {
    Object.assign(this, { chatId, answer, messages, session, onChange, onConnection });
    this.#earlier = { stalls: answer.stats.stalls, reconnects: answer.stats.reconnects };
    this.#saving = new Throttle(save, { everyMs: SAVE_EVERY_MS });
    this.save = save;
  }

  async toTheEnd() {
    if (this.answer.stopping && this.answer.jobId) this.#cancel();
    if (this.answer.status === "sending") await this.#send();
    if (this.answer.status === "running" && !this.#closed) await this.#follow();
    this.flush();
    if (!isUnfinished(this.answer)) this.#report();
    this.#told();
  }

  /** Asks the server to stop. The log's last event, not this call, ends the answer. */
  async stop() {
    if (this.answer.stopping) return;
    this.answer.stopping = true;
    this.save();
    this.#told();
    this.#pause.end();
    if (this.answer.jobId) await this.#cancel();
  }

  nudge() {
    this.#pause.end();
    this.#follower?.nudge();
  }

  flush() {
    this.#saving.flush();
  }

  /** Lets go of the connection; the answer goes on at the server and can be taken up again. */
  close() {
    this.#closed = true;
    this.#pause.end();
    this.#follower?.close();
    this.flush();
  }

  async #send() {
    const { answer } = this;
    if (Date.now() - answer.stats.sentAt > KEY_LIFE_MS) {
      return this.#failed({ code: "never_sent", message: "This question was never answered.", retryable: true });
    }
    const job = { model: answer.model, messages: messagesFor(this.messages, answer), session_id: this.chatId };
    // As it was first asked, also when it is asked again: the key stands for one body.
    if (answer.wanted?.length) job.tools = answer.wanted;
    for (let failures = 0; !this.#closed; failures += 1) {
      this.onConnection({ phase: "connecting", failures, cursor: 0 });
      const lastTry = answer.stopping;
      try {
        return this.#accepted(await api.createJob(job, answer.key));
      } catch (problem) {
        if (problem.status === 401) await this.session.renewed();
        else if (lastTry) return this.#neverSent();
        // The answer to the last try may have been lost: one more finds the job, so that it can be stopped.
        else if (answer.stopping) continue;
        else if (!(await this.#mayResend(problem, failures))) return this.#failed(problem);
      }
    }
  }

  #accepted({ job_id: jobId, stream_url: streamUrl }) {
    Object.assign(this.answer, { jobId, streamUrl, status: "running" });
    this.save();
    this.#told();
    if (this.answer.stopping) this.#cancel();
  }

  async #mayResend(problem, failures) {
    const waitMs = resendAfter(problem, failures);
    if (waitMs === null) return false;
    this.onConnection({ phase: "waiting", failures: failures + 1, cursor: 0, waitMs });
    await this.#pause.wait(waitMs);
    return true;
  }

  async #follow() {
    const { answer } = this;
    while (!this.#closed) {
      this.#follower = new Follower({
        streamUrl: answer.streamUrl,
        cursor: answer.cursor,
        onEvents: (events, at) => this.#take(events, at),
        onState: (state) => this.#connection(state),
      });
      const { reason, problem } = await this.#follower.run();
      this.#earlier.reconnects = answer.stats.reconnects;
      if (reason === "signed_out") await this.session.renewed();
      else if (reason === "closed" || reason === "terminal") return;
      else return this.#settle(reason, problem);
    }
  }

  #take(events, at) {
    const { answer } = this;
    for (const event of events) apply(answer, event);
    const pieces = events.filter(({ event }) => event === "token" || event === "reasoning").length;
    if (pieces) answer.stats.ttftMs ??= Math.max(0, Date.now() - answer.stats.sentAt);
    this.#arrivals.record(pieces, at);
    answer.stats.stalls = this.#earlier.stalls + this.#arrivals.stalls;
    if (isUnfinished(answer)) this.#saving.ask();
    else this.save();
    this.#told(events);
    this.onConnection({ cursor: answer.cursor });
  }

  #connection(state) {
    const reconnects = this.#earlier.reconnects + state.reconnects;
    this.answer.stats.reconnects = reconnects;
    this.onConnection({ ...state, reconnects });
  }

  /** The log has no more to give: the job's record may. */
  async #settle(reason, problem) {
    if (reason === "gone") return this.#failed(GONE);
    if (reason === "refused") return this.#failed(problem);
    for (let failures = 0; !this.#closed; failures += 1) {
      try {
        settleFromRecord(this.answer, await api.readJob(this.answer.jobId));
        this.save();
        return this.#told();
      } catch (refused) {
        if (refused.status === 401) await this.session.renewed();
        else if (refused.status === 404) return this.#failed(GONE);
        else if (!(await this.#mayResend(refused, failures))) return this.#failed(refused);
      }
    }
  }

  async #cancel() {
    for (let failures = 0; isUnfinished(this.answer); failures += 1) {
      try {
        return await api.cancelJob(this.answer.jobId);
      } catch (problem) {
        if (!problem.retryable) return null;
        await this.#pause.wait(backoff(failures));
      }
    }
    return null;
  }

  #neverSent() {
    Object.assign(this.answer, { status: "cancelled", finishReason: "client" });
    this.save();
    this.#told();
  }

  #failed(problem) {
    fail(this.answer, problem);
    this.save();
    this.#told();
  }

  #told(events = []) {
    this.onChange(this.answer, events);
  }

  #report() {
    const { jobId, stats } = this.answer;
    if (!jobId || stats.ttftMs === null) return;
    const { stalls, reconnects } = stats;
    const gaps = this.#arrivals.gaps.map(bounded);
    const report = { job_id: jobId, ttft_ms: bounded(stats.ttftMs), gaps_ms: gaps, stalls, reconnects };
    api.reportTelemetry(report).catch(() => {}); // what was measured is a gift, not a duty
  }
}

// A night with the lid closed says nothing about the wire.
const bounded = (ms) => Math.min(ms, 3_600_000);

const GONE = { code: "unknown_job", message: "The server no longer has this answer.", retryable: true };
