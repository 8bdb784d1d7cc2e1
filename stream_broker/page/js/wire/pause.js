// Waits that something good can cut short.

export class Pause {
  #waiting = new Set();

  /** Waits `ms`, or until `end()`. */
  wait(ms) {
    if (ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  end() {
    for (const done of [...this.#waiting]) done();
  }
}
