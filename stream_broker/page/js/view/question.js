// A question, as the person typed it.

import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";

export function questionView(question, announce) {
  const text = h("div", { class: "bubble" }, question.text);
  const tools = h("div", { class: "actions" }, copyButton("Copy question", () => question.text, announce));
  return h("li", { class: "message question" }, h("article", { "aria-label": "You" }, text, tools));
}
