// Small helpers to make elements. Text only ever becomes text nodes here.

/** `h("button", {class: "quiet", type: "button", onclick}, "Copy")` */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

const ICONS = {
  copy: "M8 8V5a1.5 1.5 0 0 1 1.5-1.5h9A1.5 1.5 0 0 1 20 5v9a1.5 1.5 0 0 1-1.5 1.5h-3M5.5 8.5h8A1.5 1.5 0 0 1 15 10v9a1.5 1.5 0 0 1-1.5 1.5h-8A1.5 1.5 0 0 1 4 19v-9a1.5 1.5 0 0 1 1.5-1.5z",
  done: "M5 12.5l4.5 4.5L19.5 7",
  again: "M19.5 12a7.5 7.5 0 1 1-2.3-5.4M19.5 3.5v4h-4",
  rename: "M4 20l1-4.2L15.8 5a2 2 0 0 1 2.8 0l.4.4a2 2 0 0 1 0 2.8L8.2 19 4 20zM14 7l3 3",
  remove: "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10 11v5M14 11v5",
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h16",
  send: "M12 19V5.5M5.5 12L12 5.5l6.5 6.5",
  stop: "M7.5 7.5h9v9h-9z",
  down: "M12 5v13.5M5.5 12l6.5 6.5 6.5-6.5",
  leave: "M14 4.5H6A1.5 1.5 0 0 0 4.5 6v12A1.5 1.5 0 0 0 6 19.5h8M10 12h10M16.5 8.5L20 12l-3.5 3.5",
  tool: "M14.5 6.5a4 4 0 0 0-5 5L4 17l3 3 5.5-5.5a4 4 0 0 0 5-5L15 12l-3-3 2.5-2.5z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is named for those who do not see it. */
export function iconButton(name, label, onclick, more = {}) {
  const attributes = { type: "button", class: "icon-button", "aria-label": label, title: label, onclick };
  return h("button", { ...attributes, ...more }, icon(name));
}
