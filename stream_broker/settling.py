"""What a broker reports when a job has ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.grants import SETTLED_TEXT_MAX, Outcome, Said, Settlement, Usage
from stream_broker.events import Event
from stream_broker.record import JobHead

_OUTCOMES: dict[str, Outcome] = {
    "job_complete": "completed",
    "job_error": "failed",
    "job_cancelled": "cancelled",
}


def settlement_of(
    head: JobHead,
    terminal: Event,
    *,
    engine: str,
    node: str,
    first_token_at: float | None,
    ended_at: float,
    final_text: str | None = None,
) -> Settlement:
    """The settlement for a job that ended with `terminal`. Times in Unix seconds."""
    body = terminal.body()
    return Settlement(
        job_id=head.job_id,
        grant_id=head.grant.grant_id,
        lease_id=head.grant.lease.id,
        user_id=head.user_id,
        model=head.model,
        engine=engine,
        node=node,
        outcome=_OUTCOMES[terminal.name],
        code=body.get("code") or body.get("reason") or body.get("finish_reason"),
        usage=msgspec.convert(body["usage"], Usage),
        created_at=head.created_at,
        first_token_at=first_token_at,
        ended_at=ended_at,
        session_id=session_of(head),
        final_text=final_text,
        asked=asked_of(head.call["messages"]) if session_of(head) else [],
    )


def session_of(head: JobHead) -> str | None:
    """The conversation that a job belongs to at the control plane, if it is to be kept."""
    return head.session_id or head.conversation_id


def asked_of(messages: Sequence[dict[str, Any]]) -> list[Said]:
    """What the user says in a request since the last answer in it, SETTLED_TEXT_MAX bytes at
    most: what came before is in the conversation already."""
    fresh: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "assistant":
            break
        if message.get("role") == "user":
            fresh.append(_text_in(message.get("content")))
    asked: list[Said] = []
    room = SETTLED_TEXT_MAX
    for text in reversed(fresh):
        kept = bounded_text(text, room)
        room -= len(kept.encode())
        if kept:
            asked.append(Said(role="user", text=kept))
        if kept != text:
            break
    return asked


def _text_in(content: Any) -> str:
    """The text of a message's content; what is not text is named."""
    if not isinstance(content, list):
        return content or ""
    parts = (
        part.get("text") if part.get("type") == "text" else f"[{part.get('type', 'part')}]"
        for part in content
    )
    return "\n".join(str(part) for part in parts)


def bounded_text(text: str, most: int = SETTLED_TEXT_MAX) -> str:
    """The beginning of a text that takes `most` bytes at most, in whole characters."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    return raw[:most].decode(errors="ignore")
