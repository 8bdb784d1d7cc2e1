// The sign-in form. The key goes to the server once and is kept nowhere.

import * as api from "../wire/api.js";

export class SignIn {
  constructor({ view, app, form, field, problem, button }, { onSignedIn }) {
    Object.assign(this, { view, app, form, field, problem, button, onSignedIn });
    form.addEventListener("submit", (event) => this.#submitted(event));
  }

  show(message = "") {
    this.view.hidden = false;
    this.app.hidden = true;
    this.problem.textContent = message;
    this.field.focus();
  }

  hide() {
    this.view.hidden = true;
    this.app.hidden = false;
    this.field.value = "";
  }

  async #submitted(event) {
    event.preventDefault();
    const key = this.field.value.trim();
    if (!key) return;
    this.button.disabled = true;
    this.problem.textContent = "";
    try {
      await api.login(key);
      this.hide();
      this.onSignedIn();
    } catch (problem) {
      this.problem.textContent = wordsFor(problem);
      this.field.focus();
      this.field.select();
    } finally {
      this.button.disabled = false;
    }
  }
}

function wordsFor(problem) {
  if (problem.status === 401) return "This key is not known. Check that all of it was copied.";
  if (problem.status === 503) return "Signing in is not possible just now: the control plane is away. Try again in a moment.";
  return `${problem.message} (${problem.code})`;
}
