// Copying, also on a page without TLS, where navigator.clipboard does not exist.

import { h, icon, iconButton } from "./dom.js";

const SHOWN_MS = 1600;

async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = h("textarea", { class: "off-screen", readonly: true });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("The browser does not let this page copy.");
}

/** A button that copies what `text()` gives when it is pressed, and says that it did. */
export function copyButton(label, text, announce) {
  const button = iconButton("copy", label);
  let timer = 0;
  button.addEventListener("click", async () => {
    const copied = await copy(text()).then(() => true, () => false);
    announce(copied ? "Copied." : "Copying failed.");
    if (!copied) return;
    button.replaceChildren(icon("done"));
    clearTimeout(timer);
    timer = setTimeout(() => button.replaceChildren(icon("copy")), SHOWN_MS);
    button.focus();
  });
  return button;
}
