// The list of conversations: open, rename, delete.

import { h, iconButton } from "./dom.js";

export class Sidebar {
  #renaming = false;

  constructor({ list, note, older }, { announce, onOpen, onRename, onDelete, onOlder }) {
    Object.assign(this, { list, note, older, announce, onOpen, onRename, onDelete });
    older.addEventListener("click", () => onOlder());
  }

  /** How the list stands beside the server's: `away`, and whether there is more (`older`). */
  tell({ away, older }) {
    const words = away ? "History is not available now. You can go on here." : "";
    if (this.note.textContent !== words) {
      this.note.textContent = words;
      if (words) this.announce(words);
    }
    this.older.hidden = !older || away;
  }

  show(chats, openId, runningIds) {
    // A list drawn anew in the middle would throw away what is being typed.
    if (this.#renaming) return;
    const focused = this.#focusedKey();
    this.list.replaceChildren(...chats.map((chat) => this.#item(chat, chat.id === openId, runningIds.has(chat.id))));
    if (focused) this.list.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  #focusedKey() {
    return this.list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  }

  #item(chat, open, running) {
    const title = h("span", { class: "title" }, chat.title);
    const busy = running ? h("span", { class: "busy" }, h("span", { class: "off-screen" }, " (answering)")) : null;
    const link = h("button", { type: "button", class: "chat", "data-focus": chat.id }, title, busy);
    link.addEventListener("click", () => this.onOpen(chat.id));
    if (open) link.setAttribute("aria-current", "page");
    const action = (name, label, act) =>
      iconButton(name, `${label} ${chat.title}`, act, { "data-focus": `${name} ${chat.id}` });
    const rename = action("rename", "Rename", () => this.#rename(chat, item));
    const remove = action("remove", "Delete", () => this.onDelete(chat));
    const item = h("li", {}, link, h("span", { class: "item-actions" }, rename, remove));
    return item;
  }

  #rename(chat, item) {
    const field = h("input", { class: "rename", "aria-label": "New name", maxlength: "120", enterkeyhint: "done" });
    field.value = chat.title;
    this.#renaming = true;
    const done = (keep) => {
      if (!this.#renaming) return;
      this.#renaming = false;
      this.onRename(chat, keep ? field.value : chat.title);
      this.list.querySelector(`[data-focus="${CSS.escape(chat.id)}"]`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      done(event.key === "Enter");
    });
    field.addEventListener("blur", () => done(true));
    item.replaceChildren(field);
    field.focus();
    field.select();
  }
}
