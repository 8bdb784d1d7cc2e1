// Whether this browser is signed in. Whoever met a 401 waits here until the person has signed in again.

export class Session {
  #signedIn = null;
  #resolve = null;

  /** `onLost()` is called once for each loss, however many requests noticed it. */
  constructor({ onLost }) {
    this.onLost = onLost;
  }

  get lost() {
    return this.#signedIn !== null;
  }

  /** Resolves after the next sign-in. */
  renewed() {
    if (!this.#signedIn) {
      this.#signedIn = new Promise((resolve) => (this.#resolve = resolve));
      this.onLost();
    }
    return this.#signedIn;
  }

  regained() {
    this.#resolve?.();
    this.#signedIn = this.#resolve = null;
  }
}
