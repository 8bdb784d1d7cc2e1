// The answers that are being followed. Browsers give a page six connections to a host, shared by all its tabs,
// so only a few are followed at a time; the others go on at the server and are caught up with later.

import { isUnfinished } from "./answer.js";
import { Run } from "./run.js";

const MOST_AT_ONCE = 2;

export class Runs {
  #entries = []; // the most wanted first

  /** `onChange(answer, events)`, `onConnection(answer, state)`; `save(chatId, answer)` stores. */
  constructor({ session, save, onChange, onConnection }) {
    Object.assign(this, { session, save, onChange, onConnection });
  }

  /** Follows `answer` from now on, before all others. */
  want(chatId, messages, answer) {
    const entry = this.#find(answer.id) ?? { chatId, messages, answer, run: null };
    this.#entries = [entry, ...this.#entries.filter((other) => other !== entry)];
    this.#share();
  }

  /** The living form of an answer, if it is followed or waits to be. */
  live(answerId) {
    return this.#find(answerId)?.answer ?? null;
  }

  get chatIds() {
    return new Set(this.#entries.map((entry) => entry.chatId));
  }

  stop(answerId) {
    return this.#find(answerId)?.run?.stop();
  }

  /** Lets go of a conversation that was deleted, and stops its answer. */
  drop(chatId) {
    const gone = this.#entries.filter((entry) => entry.chatId === chatId);
    this.#entries = this.#entries.filter((entry) => entry.chatId !== chatId);
    for (const { run } of gone) run?.stop()?.finally(() => run.close());
    this.#share();
  }

  closeAll() {
    const entries = this.#entries;
    this.#entries = [];
    for (const { run } of entries) run?.close();
  }

  nudge() {
    for (const { run } of this.#entries) run?.nudge();
  }

  flush() {
    for (const { run } of this.#entries) run?.flush();
  }

  #find(answerId) {
    return this.#entries.find((entry) => entry.answer.id === answerId);
  }

  #share() {
    this.#entries.forEach((entry, i) => (i < MOST_AT_ONCE ? this.#resume(entry) : this.#park(entry)));
  }

  #park(entry) {
    entry.run?.close();
    entry.run = null;
  }

  async #resume(entry) {
    if (entry.run) return;
    const { chatId, messages, answer } = entry;
    const run = new Run({
      chatId,
      answer,
      messages,
      session: this.session,
      save: () => this.save(chatId, answer),
      onChange: this.onChange,
      onConnection: (state) => entry.run === run && this.onConnection(answer, state),
    });
    entry.run = run;
    await run.toTheEnd();
    if (isUnfinished(answer)) return;
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#share();
    this.onChange(answer, []);
  }
}
