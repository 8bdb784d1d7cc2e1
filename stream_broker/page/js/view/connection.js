// A quiet word on how the connection stands; the details are there for who opens them.

import { h } from "./dom.js";

const WORDS = {
  ready: ["Ready", "No answer is under way."],
  connecting: ["Connecting", "Asking the server."],
  live: ["Live", "The answer is coming in."],
  waiting: ["Reconnecting", "The connection was cut. The answer goes on where it was."],
  offline: ["Offline", "The browser has no network. The answer goes on once it is back."],
};
// Short connects would make the word flicker.
const SETTLE_MS = 250;

export class ConnectionView {
  #timer = 0;
  #last = { phase: "ready" };

  constructor(root) {
    this.root = root;
    this.word = h("span", { class: "word" });
    this.details = h("dl");
    this.hint = h("p");
    this.summary = h("summary", {}, h("span", { class: "dot", "aria-hidden": "true" }), this.word);
    root.replaceChildren(this.summary, h("div", { class: "popover" }, this.hint, this.details));
    root.addEventListener("toggle", () => this.#drawFigures(this.#last));
    root.addEventListener("focusout", ({ relatedTarget }) => !root.contains(relatedTarget) && (root.open = false));
    this.#draw(this.#last);
  }

  /** Takes what changed: the phase, or only the cursor and other figures. */
  show(state) {
    this.#last = { ...this.#last, ...state };
    if (!state.phase) {
      this.#drawFigures(this.#last);
      return;
    }
    clearTimeout(this.#timer);
    const settled = state.phase === "live" || state.phase === "ready";
    if (settled) this.#draw(this.#last);
    else this.#timer = setTimeout(() => this.#draw(this.#last), SETTLE_MS);
  }

  /** A new conversation or answer starts with nothing known. */
  reset() {
    clearTimeout(this.#timer);
    this.#last = { phase: "ready" };
    this.#draw(this.#last);
  }

  #draw({ phase, reconnects }) {
    const cut = phase === "waiting" || phase === "connecting";
    const shown = cut && !navigator.onLine ? "offline" : phase === "connecting" && reconnects ? "waiting" : phase;
    const [word, hint] = WORDS[shown];
    this.root.dataset.phase = shown;
    this.word.textContent = word;
    this.summary.setAttribute("aria-label", `Connection: ${word}`);
    this.hint.textContent = hint;
    this.#drawFigures(this.#last);
  }

  #drawFigures({ cursor, reconnects, node }) {
    this.root.dataset.cursor = cursor ?? "";
    // Nobody sees them while it is closed, and the cursor moves with every token.
    if (!this.root.open) return;
    const facts = { "Events received": cursor, Reconnects: reconnects, "Served by": node };
    const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null);
    this.details.replaceChildren(...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
  }
}
