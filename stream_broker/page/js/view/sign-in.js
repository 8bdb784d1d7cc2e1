// The sign-in form: an API key, or name and password. They go to the server once and are kept nowhere.

import * as api from "../wire/api.js";

export class SignIn {
  /** `ways`: the radio buttons `key` and `password`; `fields`: `key`, `name`, `password`. */
  constructor({ view, app, form, ways, parts, fields, problem, button, elsewhere }, { remembered, onSignedIn, onWay }) {
    Object.assign(this, { view, app, form, ways, parts, fields, problem, button, elsewhere, onSignedIn, onWay });
    form.addEventListener("submit", (event) => this.#submitted(event));
    for (const [way, radio] of Object.entries(ways)) radio.addEventListener("change", () => this.#chosen(way));
    this.#show(remembered === "password" ? "password" : "key");
  }

  show(message = "") {
    this.view.hidden = false;
    this.app.hidden = true;
    this.problem.textContent = message;
    this.#first.focus();
    this.#offerElsewhere();
  }

  hide() {
    this.view.hidden = true;
    this.app.hidden = false;
    for (const field of Object.values(this.fields)) field.value = "";
  }

  get #way() {
    return this.ways.password.checked ? "password" : "key";
  }

  get #first() {
    return this.#way === "key" ? this.fields.key : this.fields.name;
  }

  #chosen(way) {
    this.problem.textContent = "";
    this.#show(way);
    this.onWay(way);
  }

  #show(way) {
    this.ways[way].checked = true;
    for (const [name, part] of Object.entries(this.parts)) {
      part.hidden = name !== way;
      // What is not shown is neither asked for nor sent.
      part.disabled = name !== way;
    }
  }

  async #offerElsewhere() {
    if (this.elsewhere.href) return;
    try {
      const { oidc } = await api.signInOptions();
      if (!oidc) return;
      this.elsewhere.href = oidc;
      this.elsewhere.hidden = false;
    } catch {
      // The form works without; it is asked again when it is shown again.
    }
  }

  #credentials() {
    const { key, name, password } = this.fields;
    if (this.#way === "key") return key.value.trim() ? { api_key: key.value.trim() } : null;
    return name.value.trim() && password.value ? { name: name.value.trim(), password: password.value } : null;
  }

  async #submitted(event) {
    event.preventDefault();
    const credentials = this.#credentials();
    if (!credentials) return;
    this.button.disabled = true;
    this.problem.textContent = "";
    try {
      await api.login(credentials);
      this.hide();
      this.onSignedIn();
    } catch (problem) {
      this.problem.textContent = wordsFor(problem, this.#way);
      const field = this.#way === "key" ? this.fields.key : this.fields.password;
      field.focus();
      field.select();
    } finally {
      this.button.disabled = false;
    }
  }
}

const UNKNOWN = {
  key: "This key is not known. Check that all of it was copied.",
  password: "Name and password do not belong together.",
};

function wordsFor(problem, way) {
  if (problem.status === 401) return UNKNOWN[way];
  if (problem.status === 503) return "Signing in is not possible just now: the control plane is away. Try again in a moment.";
  if (problem.status === 429) return `Too many tries. Try again in ${Math.ceil((problem.retryAfterMs ?? 60_000) / 1000)} s.`;
  return `${problem.message} (${problem.code})`;
}
