// Puts the parts together: what the person does goes to the core, what the core tells goes to the views.

import { isUnfinished } from "./core/answer.js";
import { Conversations } from "./core/conversations.js";
import { History } from "./core/history.js";
import { Renewal } from "./core/renewal.js";
import { Runs } from "./core/runs.js";
import { Session } from "./core/session.js";
import { Entrance } from "./entrance.js";
import { spoken } from "./view/announcer.js";
import { confirmed } from "./view/dialogs.js";
import * as api from "./wire/api.js";

// A settlement comes to the control plane a moment after the answer's end.
const SETTLED_MS = 2000;
const MOST_TITLE = 120;

export class App {
  #chat = null;
  #messages = [];
  #ended = new WeakSet();
  #looking = 0;

  /** `makeViews(app)` gives the views by name; `main.js` has it. */
  constructor(store, makeViews) {
    this.store = store;
    this.conversations = new Conversations(store);
    this.session = new Session({
      renew: () => api.renewSession().then(() => true, () => false),
      onLost: () => this.views.signIn.show(),
    });
    this.renewal = new Renewal({
      look: api.whoAmI,
      renew: api.renewSession,
      onWho: (user) => this.#signedInAs(user),
    });
    this.history = new History({
      store,
      api,
      onChange: () => this.#historyChanged(),
      onPulled: (id) => id === this.#chat.id && this.#show(id),
      onGone: (id) => id === this.#chat.id && this.#goneElsewhere(),
      onRefused: () => this.session.renewed().then(() => this.#lookSoon()),
    });
    this.runs = new Runs({
      session: this.session,
      save: (chatId, answer) => this.#kept(store.saveMessage(chatId, answer)),
      onChange: (answer, events) => this.#changed(answer, events),
      onConnection: (answer, state) => answer === this.#messages.at(-1) && this.views.connection.show(state),
    });
    this.entrance = new Entrance({
      onModels: (models) => this.#modelsKnown(models),
      onRefused: (message) => this.#refused(message),
      renewed: () => this.session.renewed(),
    });
    this.views = makeViews(this);
  }

  async start() {
    this.open(this.#remembered());
    if (!(await this.entrance.useLink())) return;
    await this.entrance.askModels();
    api.listTools().then((tools) => this.views.tools.show(tools), () => {});
    this.renewal.start();
    this.#lookAround();
    for (const { chatId, messages, answer } of this.conversations.unfinished().reverse()) {
      if (!this.runs.live(answer.id)) this.runs.want(chatId, messages, answer);
    }
    this.#resumeOpen();
  }

  // What the person does.

  open(id) {
    this.#show(id);
    this.views.drawer.close();
    this.views.composer.focus();
    this.#pullOpen();
  }

  ask(text) {
    if (!this.#messages.length && this.history.isAhead(this.#chat.id)) {
      this.views.announcer.say("This conversation is not loaded yet. Try again in a moment.");
      return false;
    }
    const { model } = this.views.picker;
    if (!model) {
      this.views.announcer.say("The models are not known yet. Try again in a moment.");
      return false;
    }
    const { question, answer } = this.conversations.ask(this.#chat, text, model, this.views.tools.chosen);
    this.#messages.push(question, answer);
    this.views.transcript.add(question, answer);
    this.#follow(answer);
    return true;
  }

  regenerate(old) {
    if (this.#running) return;
    this.history.drop(this.#chat.id, old.jobId);
    const model = this.views.picker.model || old.model;
    const answer = this.conversations.regenerate(this.#chat, old, model, this.views.tools.chosen);
    this.#messages = this.#messages.filter((message) => message !== old);
    this.views.transcript.remove(old);
    this.#messages.push(answer);
    this.views.transcript.add(answer);
    this.#follow(answer);
    this.views.composer.focus();
  }

  chose(model) {
    this.store.model = model;
    this.views.tools.for(model);
  }

  stop() {
    if (this.#running) this.runs.stop(this.#running.id);
  }

  rename(chat, title) {
    const name = title.trim().slice(0, MOST_TITLE);
    // The open one is the living copy of what the list shows; one that is only at the server has none.
    const living = chat.id === this.#chat.id ? this.#chat : this.store.chat(chat.id);
    if (living && name) this.conversations.rename(living, name);
    if (name && name !== chat.title) this.history.rename(chat.id, name);
    this.#draw();
  }

  async remove(chat) {
    const text = `“${chat.title}” is removed for good, on all your devices.`;
    if (!(await confirmed({ title: "Delete this conversation?", text, action: "Delete" }))) return;
    const problem = await this.history.remove(chat.id).then(() => null, (refused) => refused);
    if (problem) {
      this.views.alert(`The conversation is still there: ${problem.message} (${problem.code})`);
      return;
    }
    this.runs.drop(chat.id);
    this.conversations.remove(chat.id);
    if (chat.id === this.#chat.id) this.open(null);
    else this.#draw();
    this.views.announcer.say("Conversation deleted.");
    this.#lookSoon();
  }

  olderConversations() {
    this.history.refresh({ older: true });
  }

  async signOut() {
    const text = "Answers that are under way go on at the server.";
    const boxes = {
      everywhere: "On all my devices",
      clear: "Also remove all conversations from this browser",
    };
    const choice = await confirmed({ title: "Sign out?", text, action: "Sign out", boxes });
    if (!choice) return;
    const problem = await api.logout(choice.everywhere).then(() => null, (refused) => refused);
    if (problem && problem.status !== 401) {
      this.views.alert(`You are still signed in: ${problem.message} (${problem.code})`);
      return;
    }
    this.runs.closeAll();
    this.renewal.stop();
    this.history.reset();
    this.views.quota.show(null);
    if (choice.clear) this.store.clear();
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
    this.renewal.nudge();
    if (!this.session.lost) this.#lookSoon();
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
    if (changed && !this.#running) this.#show(chat.id);
    else if (chat) this.#chat.title = chat.title;
    this.#draw();
  }

  // Between core and views.

  get #running() {
    return this.#messages.findLast((message) => isUnfinished(message));
  }

  #modelsKnown(models) {
    this.views.picker.show(models);
    this.views.tools.for(this.views.picker.model);
  }

  #show(id) {
    this.#chat = this.store.chat(id) ?? this.history.chat(id) ?? this.conversations.draft();
    this.#messages = this.store.messages(this.#chat).map((message) => this.runs.live(message.id) ?? message);
    sessionStorage.setItem("okome.open", this.#chat.id);
    this.views.transcript.show(this.#messages);
    this.views.connection.reset();
    if (!this.session.lost) this.#resumeOpen();
    this.#draw();
  }

  /** What was said in the open conversation on other devices. */
  async #pullOpen() {
    const { id } = this.#chat;
    if (!this.history.isAhead(id)) return;
    if (!this.#messages.length) this.views.announcer.say("Loading the conversation.");
    const problem = await this.history.pull(id).then(() => null, (refused) => refused);
    if (problem && id === this.#chat.id && !this.#messages.length) {
      this.views.alert(`This conversation cannot be shown now: ${problem.message} (${problem.code})`);
    }
  }

  #historyChanged() {
    this.#chat.title = this.store.chat(this.#chat.id)?.title ?? this.#chat.title;
    this.#draw();
    this.#pullOpen();
  }

  #goneElsewhere() {
    this.#show(null);
    this.views.announcer.say("This conversation was deleted on another device.");
  }

  #signedInAs(user) {
    if (!this.store.belongTo(user)) return;
    this.runs.closeAll();
    this.history.reset();
    this.open(null);
    this.#lookAround();
  }

  /** What the control plane tells besides: conversations and quota. Both may be missing. */
  #lookAround() {
    clearTimeout(this.#looking);
    this.history.refresh();
    api.readQuota().then((quota) => this.views.quota.show(quota), () => {});
  }

  #lookSoon() {
    clearTimeout(this.#looking);
    this.#looking = setTimeout(() => this.session.lost || this.#lookAround(), SETTLED_MS);
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
    if (justEnded) this.#lookSoon();
  }

  #kept(kept) {
    if (!kept) this.views.alert("This browser has no room left: this answer is lost when the page is closed.");
  }

  #refused(message) {
    this.session.end();
    clearTimeout(this.#looking);
    this.views.signIn.show(message);
  }

  #draw() {
    const running = this.#running;
    this.views.title(this.#chat.title);
    this.views.sidebar.show(this.history.list(), this.#chat.id, this.runs.chatIds);
    this.views.sidebar.tell({ away: this.history.away, older: this.history.hasOlder });
    this.views.composer.running = Boolean(running);
    if (!running) this.views.connection.show({ phase: "ready" });
  }
}
