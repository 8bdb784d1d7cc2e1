// Asks for the picture every few seconds and shows it; says so when there is none.

import { alert, rows } from "/static/view.js";

const EVERY_MS = 5000;
const PATIENCE_MS = 30_000;
const at = (id) => document.getElementById(id);
let timer = 0;
let asked = null;

async function ask() {
  clearTimeout(timer);
  asked?.abort();
  const mine = (asked = new AbortController());
  const late = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(`/api/picture?minutes=${at("minutes").value}`, { signal: mine.signal });
    if (!answer.ok) throw new Error(`this page's server answers ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    // A newer question has taken this one's place.
    if (asked !== mine) return;
    say("bad", `No new figures: ${mine.signal.aborted ? "no answer within 30 s" : error.message}.`);
  } finally {
    clearTimeout(late);
    if (asked === mine) plan();
  }
}

function plan() {
  if (at("pause").getAttribute("aria-pressed") === "false" && !document.hidden) {
    timer = setTimeout(ask, EVERY_MS);
  }
}

function show(picture) {
  at("cluster").textContent = `· ${picture.cluster}`;
  at("when").textContent = `as of ${new Date(picture.end * 1000).toLocaleTimeString()}`;
  if (picture.away) {
    // What was seen last stays, and says that it is old.
    say("bad", `${picture.away}. Figures below are old; okome top asks the brokers themselves.`);
    document.body.dataset.state = "away";
    return;
  }
  document.body.dataset.state = "shown";
  say(picture.verdict.level, picture.verdict.text);
  at("firing").replaceChildren(...picture.alerts.map(alert));
  at("calm").hidden = picture.alerts.length > 0;
  // Not under somebody's hands: whoever reads along a chart goes on reading.
  if (!at("rows").contains(document.activeElement)) at("rows").replaceChildren(...rows(picture));
}

function say(level, text) {
  const verdict = at("verdict");
  verdict.dataset.level = level;
  // Set only when it differs: a screen reader says again what is set again.
  if (verdict.textContent !== text) verdict.textContent = text;
}

at("minutes").addEventListener("change", ask);
at("pause").addEventListener("click", () => {
  const paused = at("pause").getAttribute("aria-pressed") === "false";
  at("pause").setAttribute("aria-pressed", String(paused));
  if (paused) clearTimeout(timer);
  else ask();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (at("pause").getAttribute("aria-pressed") === "false") ask();
});
ask();
