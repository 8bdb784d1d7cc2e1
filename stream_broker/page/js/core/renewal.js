// Keeps a sign-in alive: the signed cookie is verified without asking anybody, so it ends early and is renewed.

const LEAST_MS = 60_000;
// Longer than this a timer of a browser may overflow, and the machine has slept anyway.
const MOST_MS = 6 * 3600 * 1000;

export class Renewal {
  #timer = 0;
  #due = null;
  #busy = false;
  #era = 0;

  /** `look()` tells `{user_id, expires_at}`, `renew()` prolongs; `onWho(userId)` hears who is signed in. */
  constructor({ look, renew, onWho, now = Date.now }) {
    Object.assign(this, { look, renew, onWho, now });
  }

  /** Begins anew, after a sign-in or a renewal. A control plane that is away is asked again later. */
  async start() {
    this.stop();
    const era = this.#era;
    try {
      const { user_id: user, expires_at: expiresAt } = await this.look();
      if (era !== this.#era) return;
      if (user) this.onWho(user);
      if (expiresAt) this.#plan((expiresAt * 1000 - this.now()) / 2);
    } catch (problem) {
      if (problem.retryable && era === this.#era) this.#plan(LEAST_MS);
    }
  }

  stop() {
    this.#era += 1;
    clearTimeout(this.#timer);
    this.#due = null;
  }

  /** Timers sleep with the machine: whoever wakes up asks the clock. */
  nudge() {
    if (this.#due !== null && this.now() >= this.#due) this.#renewNow();
  }

  #plan(waitMs) {
    const wait = Math.min(Math.max(waitMs, LEAST_MS), MOST_MS);
    this.#due = this.now() + wait;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.nudge(), wait);
  }

  async #renewNow() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await this.renew();
      await this.start();
    } catch (problem) {
      // What cannot be renewed here ends by itself; then the person is asked.
      if (problem.retryable) this.#plan(LEAST_MS);
      else this.stop();
    } finally {
      this.#busy = false;
    }
  }
}
