// What a person does with conversations, on top of the store. Knows no page and no network.

import { isUnfinished, newAnswer, newQuestion } from "./answer.js";
import { newId } from "./ids.js";
import { titleFrom } from "./prompt.js";

export class Conversations {
  constructor(store, now = Date.now) {
    this.store = store;
    this.now = now;
  }

  /** A conversation is stored with its first question, so empty ones never pile up. */
  draft() {
    return { id: newId(), title: "New conversation", created: this.now(), updated: this.now(), messages: [] };
  }

  /** Adds a question and its answer to be; both are stored, with the key, before anything is sent. */
  ask(chat, text, model, tools = []) {
    const question = newQuestion(newId(), text);
    if (!chat.messages.length) chat.title = titleFrom(text);
    chat.messages.push(question.id);
    const answer = this.#addAnswer(chat, model, tools, [question]);
    return { question, answer };
  }

  /** Puts a new answer in the place of the last one. */
  regenerate(chat, old, model, tools = []) {
    chat.messages = chat.messages.filter((id) => id !== old.id);
    this.store.deleteMessage(old.id);
    return this.#addAnswer(chat, model, tools, []);
  }

  rename(chat, title) {
    chat.title = title.trim().slice(0, 120) || chat.title;
    this.store.saveChat(chat);
  }

  remove(id) {
    this.store.deleteChat(id);
  }

  /** Answers that were under way when the page was last closed, with what they need to go on. */
  unfinished() {
    return this.store.list().flatMap((chat) => {
      const messages = this.store.messages(chat);
      return messages.filter(isUnfinished).map((answer) => ({ chatId: chat.id, messages, answer }));
    });
  }

  #addAnswer(chat, model, wanted, before) {
    const now = this.now();
    const answer = newAnswer({ id: newId(), key: newId(), model, wanted, sentAt: now });
    chat.messages.push(answer.id);
    chat.updated = now;
    this.store.saveChat(chat);
    for (const message of [...before, answer]) this.store.saveMessage(chat.id, message);
    return answer;
  }
}
