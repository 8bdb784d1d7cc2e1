// Conversations as the control plane keeps them, in the form in which this browser keeps its own. Pure.

import { newAnswer, newQuestion } from "./answer.js";

const STATUS = { completed: "completed", cancelled: "cancelled", failed: "failed", lost: "failed" };
const UNREADABLE = { code: "not_readable", message: "The server can no longer read this text.", retryable: false };
const NOT_KEPT = { code: "not_kept", message: "The text of this answer was not kept.", retryable: false };
const FAILED = "This answer failed.";

/** A listed conversation, as one of this browser that has no messages yet. */
export function chatOf({ id, title, created_at: created, updated_at: updated }) {
  return { id, title: title ?? "Conversation", created: created * 1000, updated: updated * 1000, messages: [] };
}

/**
 * The messages of both sides as one conversation: `{messages, changed}`. What this browser has is kept as it is;
 * what it lacks comes in where it was said. `dropped`: ids of jobs whose answers were replaced here.
 */
export function joined(local, remote, dropped = []) {
  const groups = localGroups(local);
  let at = 0;
  let changed = false;
  for (const { jobId, messages } of remoteGroups(remote)) {
    const known = groups.findIndex((group) => group.jobId === jobId);
    if (known >= 0) {
      at = known + 1;
      changed = heal(groups[known], messages) || changed;
    } else if (!dropped.includes(jobId)) {
      groups.splice(at, 0, { jobId, messages: messages.map(imported) });
      at += 1;
      changed = true;
    }
  }
  return { messages: groups.flatMap((group) => group.messages), changed };
}

/** A question with its answer, and the job that gave it. */
function localGroups(messages) {
  const groups = [];
  let open = [];
  for (const message of messages) {
    open.push(message);
    if (message.role !== "assistant") continue;
    groups.push({ jobId: message.jobId, messages: open });
    open = [];
  }
  if (open.length) groups.push({ jobId: null, messages: open });
  return groups;
}

function remoteGroups(messages) {
  const groups = [];
  for (const message of messages) {
    if (groups.at(-1)?.jobId !== message.job_id) groups.push({ jobId: message.job_id, messages: [] });
    groups.at(-1).messages.push(message);
  }
  return groups;
}

function imported(message, place) {
  const id = `${message.job_id}.${place}`;
  if (message.role === "user") return newQuestion(id, message.text ?? UNREADABLE.message);
  const made = { id, key: null, model: message.model ?? "a model", sentAt: message.created_at * 1000 };
  return Object.assign(newAnswer(made), { jobId: message.job_id, ...endOf(message) });
}

function endOf({ text, outcome, code }) {
  const end = { status: STATUS[outcome] ?? "completed", text: text ?? "", finishReason: code ?? null, error: null };
  if (outcome === "failed") end.error = { code: code ?? "internal", message: FAILED, retryable: true };
  if (outcome === "lost") end.error = { ...NOT_KEPT };
  if (text === null) Object.assign(end, { status: "failed", error: { ...UNREADABLE } });
  return end;
}

/** An answer whose end this browser missed may have come to a good one. */
function heal({ messages }, remote) {
  const answer = messages.at(-1);
  const kept = remote.findLast((message) => message.role === "assistant");
  if (answer.status !== "failed" || kept?.outcome !== "completed" || kept.text === null) return false;
  Object.assign(answer, endOf(kept));
  return true;
}
