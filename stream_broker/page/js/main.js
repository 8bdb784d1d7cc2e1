// Starts the page: finds its places, makes the views, listens to the browser.

import { App } from "./app.js";
import { browserStorage, CHAT, Store } from "./core/store.js";
import { Announcer } from "./view/announcer.js";
import { Composer } from "./view/composer.js";
import { ConnectionView } from "./view/connection.js";
import { byId } from "./view/dom.js";
import { Drawer } from "./view/drawer.js";
import { ModelPicker } from "./view/model-picker.js";
import { QuotaView } from "./view/quota.js";
import { Sidebar } from "./view/sidebar.js";
import { SignIn } from "./view/sign-in.js";
import { ToolPicker } from "./view/tool-picker.js";
import { Transcript } from "./view/transcript.js";

function makeViews(app) {
  const announcer = new Announcer(byId("announcer"));
  const { say } = announcer;
  return {
    announcer,
    alert: (text) => showAlert(text),
    title: (text) => showTitle(text),
    composer: new Composer(
      { form: byId("composer"), field: byId("question"), button: byId("send") },
      { onSend: (text) => app.ask(text), onStop: () => app.stop() },
    ),
    connection: new ConnectionView(byId("connection")),
    drawer: new Drawer({ drawer: byId("sidebar"), rest: byId("main"), opener: byId("menu"), shade: byId("shade") }),
    picker: new ModelPicker(byId("model"), {
      remembered: app.store.model,
      onChoose: (model) => app.chose(model),
    }),
    tools: new ToolPicker(
      { details: byId("tools"), label: byId("tools-label"), group: byId("tools-choice") },
      { remembered: app.store.tools, onChoose: (names) => (app.store.tools = names) },
    ),
    quota: new QuotaView(byId("quota")),
    sidebar: new Sidebar({ list: byId("chats"), note: byId("history-note"), older: byId("older") }, {
      announce: say,
      onOpen: (id) => app.open(id),
      onRename: (chat, title) => app.rename(chat, title),
      onDelete: (chat) => app.remove(chat),
      onOlder: () => app.olderConversations(),
    }),
    signIn: new SignIn(
      {
        view: byId("sign-in"),
        app: byId("app"),
        form: byId("sign-in-form"),
        ways: { key: byId("by-key"), password: byId("by-password") },
        parts: { key: byId("key-part"), password: byId("password-part") },
        fields: { key: byId("api-key"), name: byId("name"), password: byId("password") },
        problem: byId("sign-in-problem"),
        button: byId("sign-in-button"),
        elsewhere: byId("sign-in-elsewhere"),
      },
      {
        remembered: app.store.way,
        onSignedIn: () => app.signedIn(),
        onWay: (way) => (app.store.way = way),
      },
    ),
    transcript: new Transcript(
      { scroller: byId("scroller"), list: byId("messages"), welcome: byId("welcome"), jump: byId("jump") },
      { announce: say, onRegenerate: (answer) => app.regenerate(answer) },
    ),
  };
}

function showTitle(text) {
  byId("chat-title").textContent = text;
  document.title = `${text} · OKOME`;
}

function showAlert(text) {
  byId("alert-text").textContent = text;
  byId("alert").hidden = !text;
}

function listen(app) {
  byId("new-chat").addEventListener("click", () => app.open(null));
  byId("sign-out").addEventListener("click", () => app.signOut());
  byId("alert-close").addEventListener("click", () => showAlert(""));
  addEventListener("keydown", (event) => event.key === "Escape" && !event.isComposing && escaped(app));
  addEventListener("online", () => app.nudge());
  addEventListener("pagehide", () => app.flush());
  addEventListener("hashchange", () => app.arrived());
  addEventListener("storage", ({ key }) => (key === null || key.startsWith(CHAT)) && app.storeChanged());
  document.addEventListener("visibilitychange", () => (document.hidden ? app.flush() : app.nudge()));
}

function escaped(app) {
  if (document.querySelector("dialog[open]")) return;
  if (app.views.drawer.isOpen) app.views.drawer.close();
  else if (app.views.tools.isOpen) app.views.tools.close();
  else if (byId("connection").open) byId("connection").open = false;
  else app.stop();
}

const { storage, lasting } = browserStorage();
const app = new App(new Store(storage), makeViews);
listen(app);
if (!lasting) showAlert("This browser stores nothing for this page: conversations are lost when it is closed.");
app.start();
