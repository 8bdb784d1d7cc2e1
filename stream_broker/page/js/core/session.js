// Whether this browser is signed in. Whoever met a 401 waits here until it is again: renewed, or by the person.

// A renewal that did not help within this is not tried again.
const ONCE_MS = 30_000;

export class Session {
  #back = null;
  #resolve = null;
  #renewedAt = -Infinity;

  /** `renew()` tells whether it could; `onLost()` is called once for each loss, however many requests noticed it. */
  constructor({ renew, onLost, now = Date.now }) {
    Object.assign(this, { renew, onLost, now });
  }

  get lost() {
    return this.#back !== null;
  }

  /** After a 401: resolves once it was renewed, or after the next sign-in. */
  renewed() {
    if (!this.lost) {
      this.#wait();
      this.#recover();
    }
    return this.#back;
  }

  /** The person has to sign in: nothing else would help. */
  end() {
    if (this.lost) return;
    this.#wait();
    this.onLost();
  }

  regained() {
    this.#resolve?.();
    this.#back = this.#resolve = null;
  }

  #wait() {
    this.#back = new Promise((resolve) => (this.#resolve = resolve));
  }

  async #recover() {
    const back = this.#back;
    const mayHelp = this.now() - this.#renewedAt > ONCE_MS;
    const helped = mayHelp && (await this.renew());
    if (back !== this.#back) return; // the person was faster
    if (helped) {
      this.#renewedAt = this.now();
      this.regained();
    } else {
      this.onLost();
    }
  }
}
