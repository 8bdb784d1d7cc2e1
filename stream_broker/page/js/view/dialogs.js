// Questions that need an answer before something is lost. The browser's own modal dialogs keep the focus.

import { h } from "./dom.js";

/** Resolves to false when cancelled, else to whether the box (if there is one) was ticked: `{ticked}`. */
export function confirmed({ title, text, action, box = null }) {
  const ticked = box && h("input", { type: "checkbox", id: "dialog-box" });
  const cancel = h("button", { class: "button", value: "cancel", formmethod: "dialog" }, "Cancel");
  const agree = h("button", { class: "button danger", value: "agree" }, action);
  const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("p", {}, text));
  if (box) form.append(h("label", { class: "box", for: "dialog-box" }, ticked, box));
  form.append(h("div", { class: "choices" }, cancel, agree));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "agree" && { ticked: Boolean(ticked?.checked) });
    });
  });
}
