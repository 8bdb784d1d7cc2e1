// One chart as SVG: lines over time, limits, and a cursor for mouse and arrow keys.

import { clock, figure } from "/static/format.js";

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 180;
const LEFT = 58;
const RIGHT = 8;
const TOP = 6;
const BOTTOM = 20;

/** An SVG element. */
export function make(name, attributes = {}, text = "") {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

/** The classes by which line number `index` is told apart: colour and stroke. */
export const look = (index) => `s${index % 6} d${Math.floor(index / 6) % 4 || index % 4}`;

/** Four even steps from 0 to a round number that is not below `highest`. */
export function scale(highest) {
  const rough = (highest > 0 ? highest : 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((size) => size >= rough * 0.999);
  return [0, 1, 2, 3, 4].map((count) => count * step);
}

/** The lines' points, broken where there is no value. `x` and `y` give places. */
export function path(points, x, y) {
  let drawing = false;
  return points.map(([at, value]) => {
    if (value === null) { drawing = false; return ""; }
    const part = `${drawing ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    drawing = true;
    return part;
  }).join("");
}

/** A chart of `panel` over `picture.start` … `picture.end`; `tell(index)` hears of the cursor. */
export function chart(panel, picture, tell) {
  const { start, end, minutes } = picture;
  // So that a narrow panel's figures are as large as a wide one's.
  const width = panel.wide ? 560 : 370;
  const values = panel.series.flatMap(({ points }) => points.map(([, value]) => value ?? 0));
  const highest = Math.max(0, ...values);
  // A limit that is far above everything would flatten the lines.
  const limits = Object.entries(panel.levels ?? {}).filter(([, value]) => value <= highest * 1.5);
  const marks = scale(Math.max(highest, ...limits.map(([, value]) => value)));
  const top = marks.at(-1);
  const x = (at) => LEFT + ((at - start) / (end - start || 1)) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);

  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", tabindex: "0" });
  for (const mark of marks) {
    svg.append(make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }));
    svg.append(make("text", { class: "tick", x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, figure(mark, panel.unit === "bool" ? "short" : panel.unit)));
  }
  for (const [part, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const at = start + part * (end - start);
    svg.append(make("text", { class: "tick", x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, clock(at, minutes)));
  }
  for (const [name, value] of limits) {
    svg.append(make("line", { class: `limit ${name}`, x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
  }
  panel.series.forEach(({ points }, index) => {
    svg.append(make("path", { class: `line ${look(index)}`, d: path(points, x, y) }));
  });
  addCursor(svg, panel, { x, width }, tell);
  return svg;
}

function addCursor(svg, panel, { x, width }, tell) {
  const times = panel.series[0]?.points.map(([at]) => at) ?? [];
  const cursor = make("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(cursor);
  let place = null;
  const move = (index) => {
    place = index;
    cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index !== null) {
      cursor.setAttribute("x1", x(times[index]));
      cursor.setAttribute("x2", x(times[index]));
    }
    tell(index);
  };
  if (!times.length) return;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const part = (((event.clientX - box.left) / box.width) * width - LEFT) / (width - LEFT - RIGHT);
    move(Math.max(0, Math.min(times.length - 1, Math.round(part * (times.length - 1)))));
  });
  svg.addEventListener("pointerleave", () => move(null));
  svg.addEventListener("blur", () => move(null));
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -times.length, End: times.length };
    if (event.key === "Escape") move(null);
    else if (event.key in steps) {
      // From beyond the end: the first step back is to the newest.
      const from = place ?? times.length;
      move(Math.max(0, Math.min(times.length - 1, from + steps[event.key])));
    } else return;
    event.preventDefault();
  });
}
