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
    const summary = h("summary", { "aria-label": "Connection" }, h("span", { class: "dot", "aria-hidden": "true" }), this.word);
    root.replaceChildren(summary, h("div", { class: "popover" }, this.hint, this.details));
    root.addEventListener("focusout", ({ relatedTarget }) => !root.contains(relatedTarget) && (root.open = false));
    this.summary = summary;
    this.#draw(this.#last);
  }

  show(state) {
    this.#last = { ...this.#last, ...state };
    clearTimeout(this.#timer);
    if (state.phase === "live" || state.phase === "ready") this.#draw(this.#last);
    else this.#timer = setTimeout(() => this.#draw(this.#last), SETTLE_MS);
  }

  /** A new conversation or answer starts with nothing known. */
  reset() {
    clearTimeout(this.#timer);
    this.#last = { phase: "ready" };
    this.#draw(this.#last);
  }

  get phase() {
    return this.#last.phase;
  }

  #draw({ phase, cursor, reconnects, node }) {
    const cut = phase === "waiting" || phase === "connecting";
    const shown = cut && !navigator.onLine ? "offline" : phase === "connecting" && reconnects ? "waiting" : phase;
    const [word, hint] = WORDS[shown];
    this.root.dataset.phase = shown;
    this.root.dataset.cursor = cursor ?? "";
    this.word.textContent = word;
    this.summary.setAttribute("aria-label", `Connection: ${word}`);
    this.hint.textContent = hint;
    const facts = { "Events received": cursor, Reconnects: reconnects, "Served by": node };
    const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null);
    this.details.replaceChildren(...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
  }
}
