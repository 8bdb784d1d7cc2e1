// Which of the server's tools the next answers may use; the choice is remembered.

import { h } from "./dom.js";

export class ToolPicker {
  #tools = [];
  #model = null;

  /** `details` holds a summary and a group; `remembered` are names, `onChoose(names)` keeps them. */
  constructor({ details, label, group }, { remembered, onChoose }) {
    Object.assign(this, { details, label, group, onChoose });
    this.wanted = new Set(remembered);
    details.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !details.contains(relatedTarget) && this.close());
  }

  /** The names of the chosen tools that go with the model. */
  get chosen() {
    return this.#offered.map(({ name }) => name).filter((name) => this.wanted.has(name));
  }

  get isOpen() {
    return this.details.open;
  }

  close() {
    this.details.open = false;
  }

  /** `tools` as the server lists them. */
  show(tools) {
    this.#tools = tools;
    this.#draw();
  }

  for(model) {
    this.#model = model;
    this.#draw();
  }

  get #offered() {
    return this.#tools.filter(({ models }) => models.includes(this.#model));
  }

  #draw() {
    const offered = this.#offered;
    this.details.hidden = offered.length === 0;
    this.group.replaceChildren(...offered.map((tool) => this.#choice(tool)));
    this.#count();
  }

  #choice({ name, description }) {
    const box = h("input", { type: "checkbox", value: name, checked: this.wanted.has(name) });
    box.addEventListener("change", () => this.#toggled(name, box.checked));
    return h("label", { title: description || name }, box, h("span", {}, name));
  }

  #toggled(name, wanted) {
    if (wanted) this.wanted.add(name);
    else this.wanted.delete(name);
    this.onChoose([...this.wanted]);
    this.#count();
  }

  #count() {
    const count = this.chosen.length;
    this.label.textContent = count ? `Tools (${count})` : "Tools";
  }
}
