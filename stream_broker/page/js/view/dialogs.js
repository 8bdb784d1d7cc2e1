// Questions that need an answer before something is lost. The browser's own modal dialogs keep the focus.

import { h } from "./dom.js";

/** Resolves to false when cancelled, else to which of the `boxes` (label by name) were ticked: `{name: boolean}`. */
export function confirmed({ title, text, action, boxes = {} }) {
  const names = Object.keys(boxes);
  const fields = names.map((name) => h("input", { type: "checkbox", id: `dialog-${name}` }));
  const cancel = h("button", { class: "button", value: "cancel", formmethod: "dialog" }, "Cancel");
  const agree = h("button", { class: "button danger", value: "agree" }, action);
  const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("p", {}, text));
  names.forEach((name, i) => form.append(h("label", { class: "box", for: fields[i].id }, fields[i], boxes[name])));
  form.append(h("div", { class: "choices" }, cancel, agree));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      const ticked = Object.fromEntries(names.map((name, i) => [name, fields[i].checked]));
      resolve(dialog.returnValue === "agree" && ticked);
    });
  });
}
