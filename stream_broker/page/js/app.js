// Puts the parts together: what the person does goes to the core, what the core tells goes to the views.

import { isUnfinished } from "./core/answer.js";
import { Conversations } from "./core/conversations.js";
import { Runs } from "./core/runs.js";
import { Session } from "./core/session.js";
import { Entrance } from "./entrance.js";
import { confirmed } from "./view/dialogs.js";
import * as api from "./wire/api.js";

export class App {
  #chat = null;
  #messages = [];
  #ended = new WeakSet();

  /** `makeViews(app)` gives the views by name; `main.js` has it. */
  constructor(store, makeViews) {
    this.store = store;
    this.conversations = new Conversations(store);
    this.session = new Session({ onLost: () => this.views.signIn.show() });
    this.runs = new Runs({
      session: this.session,
      save: (chatId, answer) => this.#kept(store.saveMessage(chatId, answer)),
      onChange: (answer, events) => this.#changed(answer, events),
      onConnection: (answer, state) => answer === this.#messages.at(-1) && this.views.connection.show(state),
    });
    this.entrance = new Entrance({
      onModels: (models) => this.views.picker.show(models),
      onRefused: (message) => this.#refused(message),
    });
    this.views = makeViews(this);
  }

  async start() {
    this.open(this.#remembered());
    if (await this.entrance.useLink()) await this.entrance.askModels();
    for (const { chatId, messages, answer } of this.conversations.unfinished().reverse()) {
      if (!this.runs.live(answer.id)) this.runs.want(chatId, messages, answer);
    }
    this.#resumeOpen();
  }

  // What the person does.

  open(id) {
    this.#chat = this.store.chat(id) ?? this.conversations.draft();
    this.#messages = this.store.messages(this.#chat).map((message) => this.runs.live(message.id) ?? message);
    sessionStorage.setItem("okome.open", this.#chat.id);
    this.views.transcript.show(this.#messages);
    this.views.connection.reset();
    this.views.drawer.close();
    this.views.composer.focus();
    if (!this.session.lost) this.#resumeOpen();
    this.#draw();
  }

  ask(text) {
    const { model } = this.views.picker;
    if (!model) {
      this.views.announcer.say("The models are not known yet. Try again in a moment.");
      return false;
    }
    const { question, answer } = this.conversations.ask(this.#chat, text, model);
    this.#messages.push(question, answer);
    this.views.transcript.add(question, answer);
    this.#follow(answer);
    return true;
  }

  regenerate(old) {
    if (this.#running) return;
    const answer = this.conversations.regenerate(this.#chat, old, this.views.picker.model || old.model);
    this.#messages = this.#messages.filter((message) => message !== old);
    this.views.transcript.remove(old);
    this.#messages.push(answer);
    this.views.transcript.add(answer);
    this.#follow(answer);
    this.views.composer.focus();
  }

  stop() {
    if (this.#running) this.runs.stop(this.#running.id);
  }

  rename(chat, title) {
    // The open one is the living copy of what the list shows.
    this.conversations.rename(chat.id === this.#chat.id ? this.#chat : chat, title);
    this.#draw();
  }

  async remove(chat) {
    const text = `“${chat.title}” is removed from this browser.`;
    if (!(await confirmed({ title: "Delete this conversation?", text, action: "Delete" }))) return;
    this.runs.drop(chat.id);
    this.conversations.remove(chat.id);
    if (chat.id === this.#chat.id) this.open(null);
    else this.#draw();
    this.views.announcer.say("Conversation deleted.");
  }

  async signOut() {
    const text = "Answers that are under way go on at the server.";
    const box = "Also remove all conversations from this browser";
    const choice = await confirmed({ title: "Sign out?", text, action: "Sign out", box });
    if (!choice) return;
    const problem = await api.logout().then(() => null, (refused) => refused);
    if (problem && problem.status !== 401) {
      this.views.alert(`You are still signed in: ${problem.message} (${problem.code})`);
      return;
    }
    this.runs.closeAll();
    if (choice.ticked) this.store.clear();
    this.open(null);
    this.#refused("You are signed out.");
  }

  // What happens around the page.

  signedIn() {
    this.session.regained();
    this.start();
  }

  nudge() {
    this.entrance.nudge();
    this.runs.nudge();
  }

  flush() {
    this.runs.flush();
  }

  async arrived() {
    if (!(await this.entrance.useLink())) return;
    this.views.signIn.hide();
    this.signedIn();
  }

  /** Another tab changed what is stored. */
  storeChanged() {
    const chat = this.store.chat(this.#chat.id);
    const changed = chat && JSON.stringify(chat.messages) !== JSON.stringify(this.#chat.messages);
    if (changed && !this.#running) this.open(chat.id);
    else if (chat) this.#chat.title = chat.title;
    this.#draw();
  }

  // Between core and views.

  get #running() {
    return this.#messages.findLast((message) => isUnfinished(message));
  }

  #remembered() {
    return sessionStorage.getItem("okome.open") ?? this.store.list()[0]?.id;
  }

  #follow(answer) {
    this.views.announcer.say("Answer started.");
    this.runs.want(this.#chat.id, [...this.#messages], answer);
    this.#draw();
  }

  #resumeOpen() {
    const answer = this.#running;
    if (answer) this.runs.want(this.#chat.id, [...this.#messages], answer);
  }

  #changed(answer, events) {
    this.views.transcript.update(answer, events);
    const justEnded = !isUnfinished(answer) && !this.#ended.has(answer);
    if (justEnded) this.#ended.add(answer);
    if (justEnded && this.#messages.includes(answer)) this.views.announcer.say(spoken(answer));
    if (!events.length || justEnded) this.#draw();
  }

  #kept(kept) {
    if (!kept) this.views.alert("This browser has no room left: this answer is lost when the page is closed.");
  }

  #refused(message) {
    this.session.renewed();
    this.views.signIn.show(message);
  }

  #draw() {
    const running = this.#running;
    this.views.title(this.#chat.title);
    this.views.sidebar.show(this.store.list(), this.#chat.id, this.runs.chatIds);
    this.views.composer.running = Boolean(running);
    if (!running) this.views.connection.show({ phase: "ready" });
  }
}

function spoken({ status, text, error }) {
  if (status === "failed") return `The answer failed: ${error.message}`;
  return `${status === "cancelled" ? "Answer stopped" : "Answer finished"}: ${text}`;
}
