// Code blocks: a frame with the language's name and a copy button, colours once the block is complete.

import { copyButton } from "../view/clipboard.js";
import { h } from "../view/dom.js";
import { sanitized } from "./render.js";

const MOST_TO_COLOUR = 60_000;

/** An empty block; its `code` element takes the text. */
export function codeBlock(info, announce) {
  const language = info.split(/\s/, 1)[0];
  const code = h("code");
  const pre = h("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code" }, code);
  const copy = copyButton("Copy code", () => code.textContent, announce);
  const caption = h("figcaption", {}, h("span", {}, language || "text"), copy);
  return { figure: h("figure", { class: "code" }, caption, pre), code, language };
}

/** Frames the plain code blocks of a rendered fragment, and lets wide tables scroll by themselves. */
export function furnish(fragment, announce) {
  for (const pre of fragment.querySelectorAll("pre")) {
    const source = pre.querySelector("code") ?? pre;
    const language = /language-(\S+)/.exec(source.className)?.[1] ?? "";
    const block = codeBlock(language, announce);
    block.code.textContent = source.textContent;
    pre.replaceWith(block.figure);
    colour(block);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

export async function colour({ code, language }) {
  const text = code.textContent;
  if (!language || text.length > MOST_TO_COLOUR) return;
  // Fetched with the first code block: it is the largest file of the page.
  const { default: highlighter } = await import("../../vendor/highlight.min.js");
  if (!highlighter.getLanguage(language) || code.textContent !== text) return;
  code.replaceChildren(sanitized(highlighter.highlight(text, { language, ignoreIllegals: true }).value));
}
