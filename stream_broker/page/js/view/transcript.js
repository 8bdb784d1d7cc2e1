// The open conversation. Follows the end of the text until the person scrolls away from it.

import { AnswerView } from "./answer.js";
import { questionView } from "./question.js";

const NEAR_PX = 64;

export class Transcript {
  #answers = new Map();
  #following = true;

  /** `actions`: `announce(text)`, `onRegenerate(answer)`. */
  constructor({ scroller, list, welcome, jump }, actions) {
    Object.assign(this, { scroller, list, welcome, jump });
    this.actions = { ...actions, onGrow: () => this.#stay() };
    scroller.addEventListener("scroll", () => this.#looked(), { passive: true });
    jump.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#stay()).observe(scroller);
  }

  show(messages) {
    this.#answers.clear();
    this.list.replaceChildren();
    for (const message of messages) this.#append(message);
    this.#settle();
    this.follow();
  }

  add(...messages) {
    for (const message of messages) this.#append(message);
    this.#settle();
    this.follow();
  }

  remove(answer) {
    this.#answers.get(answer.id)?.element.remove();
    this.#answers.delete(answer.id);
  }

  /** Does nothing for answers of conversations that are not open. */
  update(answer, events) {
    this.#answers.get(answer.id)?.update(events);
  }

  follow() {
    this.#following = true;
    this.#stay();
  }

  #append(message) {
    if (message.role === "user") {
      this.list.append(questionView(message, this.actions.announce));
      return;
    }
    const view = new AnswerView(message, this.actions);
    this.#answers.set(message.id, view);
    this.list.append(view.element);
  }

  #settle() {
    this.welcome.hidden = this.list.childElementCount > 0;
  }

  #stay() {
    if (this.#following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.jump.hidden = this.#following;
  }

  #looked() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.jump.hidden = this.#following;
  }
}
