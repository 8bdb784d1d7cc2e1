// text/event-stream as WHATWG describes it, read from bytes that may be cut anywhere.

export class SseParser {
  #decoder = new TextDecoder(); // drops one leading BOM and holds back half of a character
  #partial = "";
  #skipLineFeed = false;
  #event = "";
  #data = [];
  #lastId = "";

  /** The server's wish for the reconnection time, in ms; null until it named one. */
  retry = null;

  /** Takes the next bytes; gives the events that they complete. */
  push(bytes) {
    const events = [];
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#skipLineFeed && text) {
      this.#skipLineFeed = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    let start = 0;
    const ends = /\r\n|\n|\r/g;
    for (let end = ends.exec(text); end; end = ends.exec(text)) {
      this.#line(this.#partial + text.slice(start, end.index), events);
      this.#partial = "";
      start = ends.lastIndex;
      // A chunk that ends in CR ends the line now; the LF may be the next chunk's first byte.
      this.#skipLineFeed = end[0] === "\r" && start === text.length;
    }
    this.#partial += text.slice(start);
    return events;
  }

  #line(line, events) {
    if (line === "") return this.#dispatch(events);
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #dispatch(events) {
    if (this.#data.length) {
      events.push({ id: this.#lastId, event: this.#event || "message", data: this.#data.join("\n") });
    }
    this.#event = "";
    this.#data = [];
  }
}
