// An answer: thinking, tools, text, what there is to say about it, and what can be done with it.

import { isUnfinished, tokensPerSecond } from "../core/answer.js";
import { renderWhole, StreamedMarkdown } from "../markdown/streamed.js";
import { copyButton } from "./clipboard.js";
import { h, icon, iconButton } from "./dom.js";

export class AnswerView {
  #shownTools = "";
  #shownNotices = 0;
  #streamed = null;
  #asked = 0;

  /** `actions`: `announce(text)`, `onGrow()`, `onRegenerate(answer)`. */
  constructor(answer, actions) {
    this.answer = answer;
    this.actions = actions;
    this.thought = h("div", { class: "thought" });
    this.thinkingLabel = h("span", {}, "Thinking");
    const summary = h("summary", {}, this.thinkingLabel);
    this.thinking = h("details", { class: "thinking", hidden: true }, summary, this.thought);
    this.tools = h("div", { class: "tools" });
    this.notices = h("div", { class: "notices" });
    this.prose = h("div", { class: "prose" });
    this.waiting = h("p", { class: "waiting", "aria-hidden": "true" }, h("span"), h("span"), h("span"));
    this.end = h("div", { class: "outcome" });
    this.facts = h("p", { class: "facts" });
    this.buttons = h("div", { class: "actions" });
    const footer = h("footer", { class: "meta" }, this.facts, this.buttons);
    const parts = [this.thinking, this.notices, this.tools, this.prose, this.waiting, this.end, footer];
    this.article = h("article", { "aria-label": `Answer from ${answer.model}` }, ...parts);
    this.element = h("li", { class: "message answer" }, this.article);
    this.#begin();
  }

  /** Shows what `events` added; with none, only the state is shown anew. */
  update(events) {
    for (const { event, data } of events) if (event === "token") this.#streamed?.append(data.token ?? "");
    if (!isUnfinished(this.answer)) this.#show();
    else if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#show());
  }

  #show() {
    cancelAnimationFrame(this.#asked);
    this.#asked = 0;
    this.#showThought();
    this.#showState();
    this.actions.onGrow();
  }

  #begin() {
    const { answer } = this;
    if (isUnfinished(answer)) {
      this.#streamed = new StreamedMarkdown(this.prose, this.actions);
      if (answer.text) this.#streamed.append(answer.text);
    } else {
      renderWhole(this.prose, answer.text, this.actions.announce);
    }
    this.#showThought();
    this.#showState();
  }

  #showState() {
    const { answer } = this;
    const unfinished = isUnfinished(answer);
    if (!unfinished) this.#finish();
    this.article.setAttribute("aria-busy", String(unfinished));
    this.element.dataset.status = answer.status;
    this.waiting.hidden = !unfinished || Boolean(answer.text);
    this.thinkingLabel.textContent = unfinished && !answer.text ? "Thinking…" : "Thought";
    this.#showTools();
    this.#showNotices();
    this.facts.textContent = factsOf(answer).join(" · ");
  }

  #finish() {
    if (this.#streamed) this.#finishText();
    if (this.buttons.childElementCount) return;
    const { answer, actions } = this;
    const regenerate = () => actions.onRegenerate(answer);
    const again = iconButton("again", "Regenerate answer", regenerate, { "data-action": "regenerate" });
    this.buttons.append(copyButton("Copy answer", () => answer.text, actions.announce), again);
    this.end.replaceChildren(...outcomeOf(answer, actions));
  }

  #finishText() {
    const streamed = this.#streamed;
    this.#streamed = null;
    streamed.finish();
    // Where the log was gone, the text came from the job's record and not by events.
    if (streamed.text !== this.answer.text) renderWhole(this.prose, this.answer.text, this.actions.announce);
  }

  #showThought() {
    const { reasoning } = this.answer;
    this.thinking.hidden = !reasoning;
    if (reasoning.length < this.thought.textContent.length) this.thought.textContent = "";
    const shown = this.thought.firstChild ?? this.thought.appendChild(document.createTextNode(""));
    shown.appendData(reasoning.slice(shown.length));
  }

  #showTools() {
    const { tools } = this.answer;
    const now = `${tools.length} ${tools.filter((tool) => tool.ok !== null).length}`;
    if (now === this.#shownTools) return;
    this.#shownTools = now;
    const open = [...this.tools.children].map((line) => line.open);
    this.tools.replaceChildren(...tools.map(toolView));
    [...this.tools.children].forEach((line, i) => (line.open = Boolean(open[i])));
  }

  #showNotices() {
    const { notices } = this.answer;
    for (const { code, message } of notices.slice(this.#shownNotices)) {
      this.notices.append(h("p", { class: "notice", "data-code": code }, message || code));
    }
    this.#shownNotices = notices.length;
  }
}

function toolView({ name, given, ok, content }) {
  const state = ok === null ? "running…" : ok ? "done" : "failed";
  const summary = h("summary", {}, icon("tool"), h("code", {}, name), h("span", { class: "quiet" }, ` ${state}`));
  const details = h("details", { class: "tool", "data-state": state }, summary);
  if (given) details.append(h("pre", { tabindex: "0" }, given));
  if (content) details.append(h("pre", { tabindex: "0" }, content));
  return details;
}

function outcomeOf(answer, { onRegenerate }) {
  const { status, error, finishReason, text } = answer;
  if (status === "failed") return [problemView(error, () => onRegenerate(answer))];
  if (status === "cancelled") return [h("p", { class: "notice" }, STOPPED[finishReason] ?? "Stopped.")];
  if (finishReason === "length") return [h("p", { class: "notice" }, "Ended at the length limit.")];
  if (!text) return [h("p", { class: "notice" }, "The model gave an empty answer.")];
  return [];
}

const STOPPED = {
  client: "You stopped this answer.",
  disconnect: "Stopped: nobody was reading any more.",
  deadline: "Stopped: the time limit was reached.",
  inspection: "Stopped by the content policy.",
  quota: "Stopped: your quota is used up.",
  shutdown: "Stopped: the server was shutting down.",
};

function problemView({ code, message, retryable }, onRetry) {
  const words = h("p", {}, message, " ", h("code", { class: "code-name" }, code));
  const problem = h("div", { class: "problem", role: "alert" }, words);
  const action = { type: "button", class: "button", "data-action": "retry", onclick: onRetry };
  if (retryable) problem.append(h("button", action, "Retry"));
  return problem;
}

/** The line under an answer. Times are what this browser saw; the rate is the log's. */
function factsOf(answer) {
  const { stats, usage, model } = answer;
  if (answer.status === "sending" || stats.ttftMs === null) return isUnfinished(answer) ? [] : [model];
  const facts = [model, `first token ${duration(stats.ttftMs)}`];
  const rate = tokensPerSecond(answer);
  if (rate) facts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
  const tokens = usage?.completion_tokens ?? stats.pieces;
  facts.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`);
  if (stats.reconnects) facts.push(`${stats.reconnects} ${stats.reconnects === 1 ? "reconnect" : "reconnects"}`);
  return facts;
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
