// Cuts Markdown that is still arriving into blocks that will not change any more and a tail that may.
// Each settled block is rendered once, and a code block grows by its new characters only, so a long
// answer costs what its last block costs. No DOM here.

import { Lexer } from "../../vendor/marked.esm.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})([^\n]*)\n/;
const HALF_FENCE = /^ {0,3}(?:`{3,}[^`\n]*|~{3,}[^\n]*)$/;
// A last line of nothing but marks may become a list, a heading's underline, a table or a number: not shown yet.
const UNDECIDED = /^[ \t]*(?:[-=+*_#>~`|:]+|\d{1,9}[.)]?)[ \t]*$/;

export class Blocks {
  #tail = "";
  #fence = null;

  /** Steps in order: `{block: markdown}`, `{open: info}`, `{code: text}`, `{close: true}`. */
  push(text) {
    const steps = [];
    this.#tail += text.replaceAll("\r", "");
    let again = true;
    while (again) again = this.#fence ? this.#readCode(steps) : this.#settle(steps);
    return steps;
  }

  /** What may still change, without a last line that cannot be told yet. */
  get tail() {
    if (this.#fence) return "";
    const at = this.#tail.lastIndexOf("\n") + 1;
    const line = this.#tail.slice(at);
    return HALF_FENCE.test(line) || UNDECIDED.test(line) ? this.#tail.slice(0, at) : this.#tail;
  }

  /** No more will come: what is left is as it is. */
  end() {
    const steps = [];
    if (this.#fence) {
      if (this.#tail && !closes(this.#tail, this.#fence)) steps.push({ code: this.#unindented(this.#tail) });
      steps.push({ close: true });
    } else if (this.#tail) {
      steps.push({ block: this.#tail });
    }
    this.#tail = "";
    this.#fence = null;
    return steps;
  }

  #settle(steps) {
    const whole = this.#tail.slice(0, this.#tail.lastIndexOf("\n") + 1);
    const tokens = whole ? new Lexer().blockTokens(whole, []) : [];
    const last = tokens.findLastIndex((token) => token.type !== "space");
    if (last < 0) return false;
    const settled = tokens.slice(0, last).map((token) => token.raw).join("");
    if (!whole.startsWith(settled)) return false;
    if (settled.trim()) steps.push({ block: settled });
    this.#tail = this.#tail.slice(settled.length);
    return tokens[last].type === "code" && this.#enterFence(tokens[last], steps);
  }

  #enterFence(token, steps) {
    const [opening, indent, marks, info] = FENCE.exec(token.raw) ?? [];
    if (!opening) return false;
    this.#fence = { indent: indent.length, mark: marks[0], length: marks.length, midLine: false };
    this.#tail = this.#tail.slice(opening.length);
    steps.push({ open: info.trim() });
    return true;
  }

  #readCode(steps) {
    const fence = this.#fence;
    let code = "";
    let closed = false;
    for (let end = this.#tail.indexOf("\n"); end >= 0 && !closed; end = this.#tail.indexOf("\n")) {
      const line = this.#tail.slice(0, end);
      this.#tail = this.#tail.slice(end + 1);
      if (!fence.midLine && closes(line, fence)) closed = true;
      else code += `${this.#unindented(line)}\n`;
      fence.midLine = false;
    }
    if (!closed && this.#tail && (fence.midLine || !/^[ \t]*[`~]*[ \t]*$/.test(this.#tail))) {
      code += this.#unindented(this.#tail);
      this.#tail = "";
      fence.midLine = true;
    }
    if (code) steps.push({ code });
    if (closed) {
      steps.push({ close: true });
      this.#fence = null;
    }
    return closed;
  }

  #unindented(line) {
    const { indent, midLine } = this.#fence;
    if (midLine || !indent) return line;
    return line.slice(Math.min(indent, line.search(/[^ ]|$/)));
  }
}

function closes(line, { mark, length }) {
  const found = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line);
  return Boolean(found) && found[1][0] === mark && found[1].length >= length;
}
