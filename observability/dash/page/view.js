// The picture as elements. Everything from outside goes in as text, never as markup.

import { chart, look, make } from "/static/chart.js";
import { clock, figure, level } from "/static/format.js";

const WORDS = { good: "● good", warn: "▲ worth a look", bad: "■ people notice", unknown: "" };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** All rows of a picture. */
export function rows(picture) {
  return picture.rows.map((row, index) => {
    const id = `row-${index}`;
    const panels = row.panels.map((panel, number) => one(panel, picture, `${id}-${number}`));
    return element("section", { "aria-labelledby": id },
      element("h2", { id }, row.title), element("div", { class: "panels" }, ...panels));
  });
}

/** One alert that fires. */
export function alert(item) {
  const line = element("li", { "data-severity": item.severity });
  line.append(element("strong", {}, `${item.severity} · ${item.name}`), ` ${item.summary} `);
  if (item.place) line.append(element("span", { class: "soft" }, `(${item.place}) `));
  // Only what is a web address becomes a link.
  if (/^https?:\/\//.test(item.runbook)) {
    line.append(element("a", { href: item.runbook, rel: "noreferrer" }, "what to do"));
  } else if (item.runbook) line.append(element("span", {}, item.runbook));
  return line;
}

function one(panel, picture, id) {
  const classes = [panel.kind, panel.wide ? "wide" : ""].join(" ").trim();
  const box = element("figure", { class: classes, "aria-labelledby": id });
  box.append(element("h3", { id }, panel.title));
  if (panel.fault) box.append(element("p", { class: "fault" }, `Cannot be shown: ${panel.fault}`));
  else if (!panel.series.length) box.append(element("p", { class: "soft" }, empty(panel)));
  else if (panel.kind === "stat") stat(box, panel);
  else graph(box, panel, picture, id);
  if (panel.about) box.append(element("p", { class: "about soft" }, panel.about));
  return box;
}

const empty = (panel) => (panel.silent ? `No figures: ${panel.silent}.` : "No figures.");

function stat(box, panel) {
  const { last } = panel.series[0];
  const standing = level(last, panel.levels);
  box.dataset.level = standing;
  box.append(element("p", { class: "value" }, figure(last, panel.unit)));
  if (WORDS[standing]) box.append(element("p", { class: "level", "data-level": standing }, WORDS[standing]));
}

function graph(box, panel, picture, id) {
  const values = panel.series.map(() => element("b"));
  const when = element("p", { class: "soft about", "aria-live": "polite" });
  const tell = (index) => {
    panel.series.forEach((line, number) => {
      values[number].textContent = figure(index === null ? line.last : line.points[index][1], panel.unit);
    });
    when.textContent = index === null ? "" : spoken(panel, picture, index);
  };
  const drawing = chart(panel, picture, tell);
  drawing.setAttribute("aria-label", `${panel.title} ${summary(panel)} Arrow keys move along.`);
  drawing.dataset.panel = id;
  const legend = element("ul", { class: "legend" }, ...panel.series.map((line, index) => {
    const key = make("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" });
    key.append(make("line", { class: `line ${look(index)}`, x1: 0, x2: 24, y1: 4, y2: 4 }));
    return element("li", {}, key, line.name, values[index]);
  }));
  tell(null);
  box.append(drawing, legend, when);
}

const spoken = (panel, picture, index) =>
  `At ${clock(panel.series[0].points[index][0], picture.minutes)}: ` +
  panel.series.map((line) => `${line.name} ${figure(line.points[index][1], panel.unit)}`).join(", ");

const summary = (panel) =>
  panel.series.map((line) => `${line.name}: ${figure(line.last, panel.unit)}.`).join(" ");
