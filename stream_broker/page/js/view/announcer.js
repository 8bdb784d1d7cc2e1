// Says things to people who listen: one polite line, never token by token.

const MOST_CHARACTERS = 3000;

export class Announcer {
  constructor(region) {
    this.region = region;
  }

  say = (text) => {
    const more = text.length > MOST_CHARACTERS ? " … The answer goes on in the conversation." : "";
    const told = text.slice(0, MOST_CHARACTERS) + more;
    // The same words twice are only read twice if the region changed in between.
    this.region.textContent = "";
    requestAnimationFrame(() => (this.region.textContent = told));
  };
}

/** What is said of an answer that has ended. */
export function spoken({ status, text, error }) {
  if (status === "failed") return `The answer failed: ${error.message}`;
  return `${status === "cancelled" ? "Answer stopped" : "Answer finished"}: ${text}`;
}
