// What this browser measured of one answer: the gaps between arrivals, and how many of them were stalls.

const MOST_GAPS = 512;
const STALL_MS = 500;

export class Arrivals {
  gaps = [];
  stalls = 0;
  #seen = 0;
  #lastAt = null;
  #random;

  constructor(random = Math.random) {
    this.#random = random;
  }

  /** `count` pieces of text arrived together at `at` (ms on any clock that does not go back). */
  record(count, at) {
    for (let i = 0; i < count; i += 1) {
      if (this.#lastAt !== null) this.#keep(Math.round((at - this.#lastAt) * 10) / 10);
      this.#lastAt = at;
    }
  }

  #keep(gap) {
    if (gap > STALL_MS) this.stalls += 1;
    this.#seen += 1;
    // A fair sample of a long answer, in bounded space.
    const slot = this.#seen <= MOST_GAPS ? this.#seen - 1 : Math.floor(this.#random() * this.#seen);
    if (slot < MOST_GAPS) this.gaps[slot] = gap;
  }
}
