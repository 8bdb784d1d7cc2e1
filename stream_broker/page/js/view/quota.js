// What is left of the quota: one quiet line, the rest for who opens it. Nothing where there is no limit.

import { rowsOf, scarcest } from "../core/quota.js";
import { h } from "./dom.js";

export class QuotaView {
  constructor(root) {
    this.root = root;
    this.line = h("span");
    this.list = h("dl");
    root.replaceChildren(h("summary", {}, this.line), this.list);
  }

  /** Takes the answer of `GET /v1/quota`, or null where it is not known. */
  show(quota) {
    const rows = rowsOf(quota);
    this.root.hidden = rows.length === 0;
    if (!rows.length) return;
    const { unit, when, left, limit } = scarcest(rows);
    this.line.textContent = `${left.toLocaleString()} ${unit} left ${when}`;
    this.root.dataset.level = left === 0 ? "none" : left / limit < 0.1 ? "low" : "enough";
    this.list.replaceChildren(...rows.flatMap(entry));
  }
}

function entry({ unit, when, left, limit, resetsAt }) {
  const label = `${unit[0].toUpperCase()}${unit.slice(1)} ${when}`;
  const until = resetsAt === null ? null : h("span", { class: "until" }, ` until ${moment(resetsAt)}`);
  return [h("dt", {}, label), h("dd", {}, `${left.toLocaleString()} of ${limit.toLocaleString()}`, until)];
}

function moment(seconds) {
  const format = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Date(seconds * 1000).toLocaleString(undefined, format);
}
