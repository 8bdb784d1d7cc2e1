// Conversations, kept in this browser. One key per conversation and per message, so that an answer that grows
// rewrites only itself and two tabs do not overwrite each other's. localStorage, because it alone is certain
// to be written while the page goes away.

export const CHAT = "okome.chat.";
const MESSAGE = "okome.message.";
const MODEL = "okome.model";
const TOOLS = "okome.tools";
const SYNC = "okome.history";
const USER = "okome.user";
const WAY = "okome.way";
const MOST_CHATS = 100;

export class Store {
  #storage;

  constructor(storage) {
    this.#storage = storage;
  }

  /** All conversations, the latest first; each without its messages' text. */
  list() {
    const chats = this.#keys(CHAT).map((key) => this.#read(key)).filter(Boolean);
    return chats.sort((a, b) => b.updated - a.updated);
  }

  chat(id) {
    return this.#read(CHAT + id);
  }

  messages(chat) {
    return chat.messages.map((id) => this.#read(MESSAGE + id)).filter(Boolean);
  }

  /** False when the browser has no room even after the oldest conversations went. */
  saveChat(chat) {
    const kept = this.#write(CHAT + chat.id, chat);
    for (const old of this.list().slice(MOST_CHATS)) if (old.id !== chat.id) this.deleteChat(old.id);
    return kept;
  }

  /** A message whose conversation was deleted meanwhile, maybe in another tab, stays deleted. */
  saveMessage(chatId, message) {
    if (!this.chat(chatId)?.messages.includes(message.id)) return true;
    return this.#write(MESSAGE + message.id, message, chatId);
  }

  deleteMessage(id) {
    this.#storage.removeItem(MESSAGE + id);
  }

  deleteChat(id) {
    for (const message of this.chat(id)?.messages ?? []) this.deleteMessage(message);
    this.#storage.removeItem(CHAT + id);
  }

  clear() {
    for (const key of this.#keys("okome.")) this.#storage.removeItem(key);
  }

  get model() {
    return this.#storage.getItem(MODEL);
  }

  set model(name) {
    this.#write(MODEL, name);
  }

  /** Names of the tools that were chosen last. */
  get tools() {
    const names = this.#read(TOOLS);
    return Array.isArray(names) ? names : [];
  }

  set tools(names) {
    this.#write(TOOLS, names);
  }

  /** How the person signed in last: `key` or `password`. */
  get way() {
    return this.#storage.getItem(WAY);
  }

  set way(name) {
    this.#write(WAY, name);
  }

  /**
   * What is to be known beside the server's own list: when each conversation was looked at there (`seen`), titles
   * that it has not taken yet, what was deleted here, and answers that were replaced here (`dropped`).
   */
  get sync() {
    return { seen: {}, titles: {}, deleted: {}, dropped: {}, ...this.#read(SYNC) };
  }

  changeSync(change) {
    const sync = this.sync;
    change(sync);
    this.#write(SYNC, sync);
  }

  /** What is kept here is one person's: somebody else's goes when another signs in. True where it did. */
  belongTo(user) {
    const before = this.#storage.getItem(USER);
    if (before === user) return false;
    if (before) this.clear();
    this.#write(USER, user);
    return Boolean(before);
  }

  #keys(prefix) {
    const keys = Array.from({ length: this.#storage.length }, (_, i) => this.#storage.key(i));
    return keys.filter((key) => key?.startsWith(prefix));
  }

  #read(key) {
    try {
      return JSON.parse(this.#storage.getItem(key));
    } catch {
      return null;
    }
  }

  #write(key, value, chatId = value?.id) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    for (;;) {
      try {
        this.#storage.setItem(key, text);
        return true;
      } catch {
        const oldest = this.list().findLast((chat) => chat.id !== chatId);
        if (!oldest) return false;
        this.deleteChat(oldest.id);
      }
    }
  }
}

/** localStorage where the browser lends it, else a stand-in for as long as the page lives. */
export function browserStorage() {
  try {
    localStorage.setItem("okome.probe", "1");
    localStorage.removeItem("okome.probe");
    return { storage: localStorage, lasting: true };
  } catch {
    return { storage: new TabStorage(), lasting: false };
  }
}

class TabStorage {
  #map = new Map();

  get length() {
    return this.#map.size;
  }

  key(i) {
    return [...this.#map.keys()][i] ?? null;
  }

  getItem(key) {
    return this.#map.get(key) ?? null;
  }

  setItem(key, value) {
    this.#map.set(key, value);
  }

  removeItem(key) {
    this.#map.delete(key);
  }
}
