// Does a piece of work now and then instead of all the time, and never for more than a small share of the time.

export class Throttle {
  #work;
  #everyMs;
  #share;
  #timer = null;

  /** Runs `work` at most every `everyMs`, more seldom where it is slow, so that it takes at most `share` of the time. */
  constructor(work, { everyMs, share = 0.05 }) {
    this.#work = work;
    this.#everyMs = everyMs;
    this.#share = share;
  }

  ask() {
    this.#timer ??= setTimeout(() => this.#run(), this.#everyMs);
  }

  /** Does now what was asked for and not done yet. */
  flush() {
    if (this.#timer !== null) this.#run();
  }

  #run() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const began = performance.now();
    this.#work();
    this.#everyMs = Math.max(this.#everyMs, (performance.now() - began) / this.#share);
  }
}
