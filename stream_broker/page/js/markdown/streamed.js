// Shows Markdown while it arrives: at most once per frame, and never for more than a share of the time.

import { Blocks } from "./blocks.js";
import { codeBlock, colour, furnish } from "./code.js";
import { patch } from "./patch.js";
import { render } from "./render.js";

// After a frame that took t ms the next one waits 3 t: a huge last block slows the picture, never the page.
const REST = 3;
const LINK_DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;

export class StreamedMarkdown {
  #blocks = new Blocks();
  #pending = "";
    #code = null;
  #asked = false;
  #restUntil = 0;

  /** All that was appended so far. */
  text = "";

  /** Renders into `root`; `onGrow()` follows every change. */
  constructor(root, { announce, onGrow = () => {} }) {
    Object.assign(this, { root, announce, onGrow });
    this.tail = document.createElement("div");
    this.tail.className = "tail";
    root.replaceChildren(this.tail);
  }

  append(text) {
    this.#pending += text;
    this.text += text;
    this.#ask();
  }

  finish() {
    this.#take(this.#blocks.push(this.#pending));
    this.#take(this.#blocks.end());
    this.#pending = "";
    this.tail.remove();
    // A link may be defined after the block that uses it.
    if (LINK_DEFINITION.test(this.text)) renderWhole(this.root, this.text, this.announce);
    this.onGrow();
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    const rest = this.#restUntil - performance.now();
    if (rest > 0) setTimeout(() => requestAnimationFrame(() => this.#frame()), rest);
    else requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    this.#asked = false;
    if (!this.#pending) return;
    const began = performance.now();
    this.#take(this.#blocks.push(this.#pending));
    this.#pending = "";
    patch(this.tail, render(this.#blocks.tail));
    this.onGrow();
    this.#restUntil = performance.now() + REST * (performance.now() - began);
  }

  #take(steps) {
    for (const { block, open, code, close } of steps) {
      if (block !== undefined) this.tail.before(furnish(render(block), this.announce));
      if (open !== undefined) this.#open(open);
      if (code !== undefined) this.#code.text.appendData(code);
      if (close) this.#close();
    }
  }

  #open(info) {
    const block = codeBlock(info, this.announce);
    const text = document.createTextNode("");
    block.code.append(text);
    this.tail.before(block.figure);
    this.#code = { ...block, text };
  }

  #close() {
    colour(this.#code);
    this.#code = null;
  }
}

export function renderWhole(root, markdown, announce) {
  root.replaceChildren(furnish(render(markdown), announce));
}
