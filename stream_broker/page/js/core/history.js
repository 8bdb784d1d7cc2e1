// The person's conversations as the control plane keeps them for all devices, beside those of this browser.
// Without the control plane everything else goes on: this only says that it is away.

import { isUnfinished } from "./answer.js";
import { chatOf, joined } from "./imported.js";

const MOST_MESSAGES = 1000;
const DELETED_FOR_MS = 24 * 3600 * 1000;

export class History {
  /** Whether the control plane did not answer when it was asked last. */
  away = false;
  #sessions = new Map();
  #next = null;
  // What was asked before a sign-out, or before a change, is not listened to.
  #era = 0;
  #edits = 0;
  #pulling = new Set();

  /**
   * `onChange()` when the list is another, `onPulled(id)` when messages came in, `onGone(id)` when a conversation
   * was deleted elsewhere, `onRefused()` after a 401.
   */
  constructor({ store, api, onChange, onPulled, onGone, onRefused }) {
    Object.assign(this, { store, api, onChange, onPulled, onGone, onRefused });
  }

  get hasOlder() {
    return this.#next !== null;
  }

  /** A conversation that is at the server, without its messages; null where there is none. */
  chat(id) {
    const session = this.#sessions.get(id);
    return session ? chatOf(session) : null;
  }

  /** Conversations of both sides, the latest first. */
  list() {
    const local = this.store.list().map((chat) => ({ ...chat, updated: this.#updated(chat) }));
    const here = new Set(local.map((chat) => chat.id));
    const { deleted } = this.store.sync;
    const others = [...this.#sessions.values()].filter(({ id }) => !here.has(id) && !(id in deleted));
    return [...local, ...others.map(chatOf)].sort((a, b) => b.updated - a.updated);
  }

  /** Asks for the newest conversations, or for those before the oldest that is known. */
  async refresh({ older = false } = {}) {
    const [era, edits] = [this.#era, this.#edits];
    let page;
    try {
      page = await this.api.listConversations(older ? this.#next : null);
    } catch (problem) {
      if (era === this.#era) this.#missed(problem);
      return;
    }
    if (era !== this.#era) return;
    if (edits !== this.#edits) return this.refresh({ older });
    this.away = false;
    this.#take(page, older);
    this.#reconcile();
    this.onChange();
  }

  /** Whether the server has messages of this conversation that were not looked at here. */
  isAhead(id) {
    const session = this.#sessions.get(id);
    return Boolean(session) && session.updated_at > (this.store.sync.seen[id] ?? 0);
  }

  /** Brings in what this browser lacks of a conversation. Throws a Problem. */
  async pull(id) {
    const session = this.#sessions.get(id);
    if (!session || this.#pulling.has(id)) return;
    const era = this.#era;
    this.#pulling.add(id);
    try {
      const messages = await this.#messages(id);
      if (era === this.#era) this.#absorb(session, messages);
    } finally {
      this.#pulling.delete(id);
    }
  }

  async rename(id, title) {
    this.#edits += 1;
    this.store.changeSync((sync) => (sync.titles[id] = title));
    const session = this.#sessions.get(id);
    if (session) session.title = title;
    // Otherwise it is renamed there once it is there.
    if (this.#mayBeThere(id)) await this.#sendTitle(id, title);
  }

  /** Deletes a conversation at the server. Throws a Problem, and then it is still there. */
  async remove(id) {
    this.#edits += 1;
    if (this.#mayBeThere(id)) await this.#deleteThere(id);
    // An answer may still be on its way there, and must not bring it back.
    this.store.changeSync((sync) => {
      sync.deleted[id] = Date.now();
      delete sync.titles[id];
      delete sync.seen[id];
    });
  }

  /** The answer of `jobId` was replaced here: it does not come back from the server. */
  drop(id, jobId) {
    if (jobId) this.store.changeSync((sync) => (sync.dropped[id] = [...(sync.dropped[id] ?? []), jobId]));
  }

  /** Somebody else may sign in next. */
  reset() {
    this.#era += 1;
    this.#sessions.clear();
    this.#next = null;
    this.away = false;
  }

  /** Not every page of the list has been looked at. */
  #mayBeThere(id) {
    return this.#sessions.has(id) || this.hasOlder || this.store.sync.seen[id] !== undefined;
  }

  #updated(chat) {
    return Math.max(chat.updated, (this.#sessions.get(chat.id)?.updated_at ?? 0) * 1000);
  }

  #missed(problem) {
    // 404 is a server that keeps no conversations.
    this.away = problem.status !== 401 && problem.status !== 404;
    this.onChange();
    if (problem.status === 401) this.onRefused();
  }

  #take({ sessions, next }, older) {
    if (!older) {
      const oldest = next === null ? -Infinity : sessions.at(-1).updated_at;
      for (const [id, known] of this.#sessions) if (known.updated_at >= oldest) this.#sessions.delete(id);
    }
    // A first page says nothing of where a later one ended.
    if (older || next === null || !this.#sessions.size) this.#next = next;
    for (const session of sessions) this.#sessions.set(session.id, session);
  }

  #reconcile() {
    const { seen, titles, deleted } = this.store.sync;
    const oldest = this.hasOlder ? Math.min(...[...this.#sessions.values()].map((one) => one.updated_at)) : -Infinity;
    for (const [id, title] of Object.entries(titles)) {
      if (!this.#sessions.has(id)) continue;
      this.#sessions.get(id).title = title;
      this.#sendTitle(id, title);
    }
    for (const chat of this.store.list()) {
      const session = this.#sessions.get(chat.id);
      if (session) this.#retitle(chat, session.title);
      else if (seen[chat.id] > oldest) this.#gone(chat);
    }
    for (const [id, at] of Object.entries(deleted)) {
      if (this.#sessions.has(id)) this.#deleteThere(id).catch(() => {}); // the next look tries again
      else if (Date.now() - at > DELETED_FOR_MS) this.store.changeSync((sync) => delete sync.deleted[id]);
    }
  }

  #retitle(chat, title) {
    if (title && title !== chat.title) this.store.saveChat({ ...chat, title });
  }

  #gone(chat) {
    if (this.store.messages(chat).some(isUnfinished)) return;
    this.store.deleteChat(chat.id);
    this.store.changeSync((sync) => delete sync.seen[chat.id]);
    this.onGone(chat.id);
  }

  async #sendTitle(id, title) {
    try {
      await this.api.renameConversation(id, title);
    } catch (problem) {
      const notThereYet = problem.status === 404 && !this.#sessions.has(id);
      if (problem.retryable || problem.status === 401 || notThereYet) return; // the next look tries again
    }
    this.#edits += 1;
    this.store.changeSync((sync) => {
      if (sync.titles[id] === title) delete sync.titles[id];
    });
  }

  async #deleteThere(id) {
    try {
      await this.api.deleteConversation(id);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
    }
    this.#edits += 1;
    this.#sessions.delete(id);
  }

  async #messages(id) {
    const messages = [];
    let before = null;
    do {
      const page = await this.api.readConversation(id, before);
      messages.unshift(...page.messages);
      before = page.earlier;
    } while (before !== null && messages.length < MOST_MESSAGES);
    return messages;
  }

  #absorb(session, remote) {
    const chat = this.store.chat(session.id) ?? chatOf(session);
    const local = this.store.messages(chat);
    // Its own end brings what is lacking, and what grows must not be written by two.
    if (local.some(isUnfinished)) return;
    const { messages, changed } = joined(local, remote, this.store.sync.dropped[session.id]);
    if (changed) {
      const updated = Math.max(chat.updated, session.updated_at * 1000);
      this.store.saveChat({ ...chat, updated, messages: messages.map((message) => message.id) });
      for (const message of messages) this.store.saveMessage(chat.id, message);
    }
    this.store.changeSync((sync) => (sync.seen[session.id] = session.updated_at));
    if (changed) this.onPulled(session.id);
  }
}
