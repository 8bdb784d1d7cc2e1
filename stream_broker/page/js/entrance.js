// Getting in: by a link of the launcher (`#enter=TOKEN`) or the cookie of an earlier visit; then asking for the models.

import * as api from "./wire/api.js";
import { Pause } from "./wire/pause.js";
import { backoff } from "./wire/plan.js";

const ENTER = /^#enter=(.+)$/;

export class Entrance {
  #pause = new Pause();
  #asking = false;

  /** `onModels(names)`; `onRefused(message)` when a link was refused; `renewed()` resolves once signed in again. */
  constructor({ onModels, onRefused, renewed }) {
    Object.assign(this, { onModels, onRefused, renewed });
  }

  /** Uses the link in the address, if there is one; false where the server did not take it. */
  async useLink() {
    const token = ENTER.exec(location.hash)?.[1];
    if (!token) return true;
    try {
      await untilAnswered(() => api.enter(decodeURIComponent(token)), this.#pause);
      return true;
    } catch (problem) {
      this.onRefused(`This sign-in link is not valid any more (${problem.code}). Use a new one, or an API key.`);
      return false;
    } finally {
      // The token must not stay in the address bar or the history.
      history.replaceState(history.state, "", location.pathname + location.search);
    }
  }

  async askModels() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      await this.#askUntilThereAreSome();
    } finally {
      this.#asking = false;
    }
  }

  /** An engine that is still starting shows as an empty list. */
  async #askUntilThereAreSome() {
    for (let failures = 0; ; failures += 1) {
      const models = await untilAnswered(() => this.#models(), this.#pause);
      this.onModels(models);
      if (models.length) return;
      await this.#pause.wait(backoff(failures));
    }
  }

  async #models() {
    for (;;) {
      try {
        return await api.listModels();
      } catch (problem) {
        if (problem.status !== 401) throw problem;
        await this.renewed();
      }
    }
  }

  nudge() {
    this.#pause.end();
  }
}

/** Repeats what only failed because the server was not there. */
async function untilAnswered(ask, pause) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await ask();
    } catch (problem) {
      if (!problem.retryable) throw problem;
      await pause.wait(problem.retryAfterMs ?? backoff(failures));
    }
  }
}
