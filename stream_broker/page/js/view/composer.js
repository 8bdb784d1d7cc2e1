// Where a person writes: Enter sends, Shift+Enter makes a new line, the button sends or stops.

import { icon } from "./dom.js";

export class Composer {
  #running = false;

  constructor({ form, field, button }, { onSend, onStop }) {
    Object.assign(this, { form, field, button, onSend, onStop });
    this.running = false;
    form.addEventListener("submit", (event) => this.#submitted(event));
    field.addEventListener("input", () => this.#changed());
    field.addEventListener("keydown", (event) => this.#pressed(event));
    this.#changed();
  }

  /** Not on touch screens, where the keyboard would come up unasked and hide half of the page. */
  focus() {
    if (matchMedia("(hover: hover)").matches) this.field.focus();
  }

  /** While an answer is under way the button stops it. */
  set running(running) {
    if (running === this.#running && this.button.childElementCount) return;
    this.#running = running;
    const label = running ? "Stop" : "Send";
    this.button.replaceChildren(icon(running ? "stop" : "send"));
    this.button.setAttribute("aria-label", label);
    this.button.title = running ? "Stop (Esc)" : "Send (Enter)";
    this.button.dataset.action = label.toLowerCase();
    const focused = document.activeElement === this.button;
    this.#changed();
    // A disabled button would drop the focus to nowhere.
    if (focused && this.button.disabled) this.focus();
  }

  #submitted(event) {
    event.preventDefault();
    if (this.#running) return this.onStop();
    this.#send();
  }

  #pressed(event) {
    // Enter that only picks a candidate of an input method must not send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.#running) this.#send();
  }

  #send() {
    const text = this.field.value.trim();
    if (!text || !this.onSend(text)) return;
    this.field.value = "";
    this.#changed();
    this.field.focus();
  }

  #changed() {
    this.button.disabled = !this.#running && !this.field.value.trim();
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }
}
