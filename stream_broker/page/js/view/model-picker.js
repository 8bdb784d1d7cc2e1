// Which model answers. The list is asked for until it is there; the last choice is remembered.

import { h } from "./dom.js";

export class ModelPicker {
  constructor(select, { remembered, onChoose }) {
    this.select = select;
    this.onChoose = onChoose;
    this.remembered = remembered;
    select.addEventListener("change", () => {
      this.remembered = select.value;
      onChoose(select.value);
    });
  }

  get model() {
    return this.select.value || this.remembered;
  }

  show(models) {
    const chosen = models.includes(this.remembered) ? this.remembered : models[0];
    this.select.replaceChildren(...models.map((model) => h("option", { value: model }, model)));
    if (chosen) this.select.value = chosen;
    // Known now, so that a question can be asked later while nobody can list the models.
    if (chosen && !this.remembered) this.onChoose((this.remembered = chosen));
    this.select.disabled = models.length === 0;
    if (!models.length) this.select.replaceChildren(h("option", { value: "" }, "No model"));
  }
}
