// The messages that a new answer is asked with: the conversation so far, as the models' templates like it.

/** Everything before `answer`. Empty answers are left out, and what then follows itself is joined: many templates insist on taking turns. */
export function messagesFor(messages, answer) {
  const turns = [];
  for (const message of messages) {
    if (message.id === answer.id) break;
    if (!message.text.trim()) continue;
    const last = turns.at(-1);
    if (last?.role === message.role) last.content += `\n\n${message.text}`;
    else turns.push({ role: message.role, content: message.text });
  }
  return turns;
}

/** A title out of the first question. */
export function titleFrom(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  return line.length > 48 ? `${line.slice(0, 47).trimEnd()}…` : line || "New conversation";
}
