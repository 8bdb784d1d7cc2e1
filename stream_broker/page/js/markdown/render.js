// Markdown to a safe fragment. Raw HTML in an answer is shown as text, images become links (a picture's address
// could carry the conversation away), and what is left still goes through DOMPurify.

import { Marked } from "../../vendor/marked.esm.js";
import createPurifier from "../../vendor/purify.es.mjs";

const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p",
  "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const PLAIN_ATTRIBUTES = ["align", "checked", "class", "disabled", "start", "title", "type"];
const SAFE = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", ...PLAIN_ATTRIBUTES],
  ADD_URI_SAFE_ATTR: PLAIN_ATTRIBUTES,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const marked = new Marked({ gfm: true, async: false });
const purifier = createPurifier(window);

marked.use({
  renderer: {
    html: ({ raw, block }) => {
      if (/^<br\s*\/?>\s*$/i.test(raw)) return "<br>";
      return block ? `<p>${escaped(raw.trimEnd())}</p>` : escaped(raw);
    },
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
  },
});

purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.localName === "a") {
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("target", "_blank");
  }
  // The only inputs that Markdown makes are the boxes of task lists.
  if (node.localName === "input" && node.getAttribute("type") !== "checkbox") node.remove();
});

export function render(markdown) {
  return sanitized(marked.parse(markdown));
}

export function sanitized(html) {
  return purifier.sanitize(html, SAFE);
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
