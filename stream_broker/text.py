"""The text of an answer, out of its log."""

from __future__ import annotations

import asyncio

from stream_broker.events import Event
from stream_broker.log.base import EventLog
from stream_broker.rounds import Spoken, spoken
from stream_broker.window import Window

_READ_BYTES = 256 << 10


async def text_of(log: EventLog, job_id: str, last: int) -> str | None:
    """The answer up to event `last`; None when the log has gone. Raises LogUnavailable."""
    parts: list[str] = []
    cursor = 0
    while cursor < last:
        events = await log.read(job_id, cursor, _READ_BYTES)
        if not events:
            return None
        parts.extend(
            event.body()["token"] for event in events if event.seq <= last and event.name == "token"
        )
        cursor = events[-1].seq
    return "".join(parts)


async def spoken_in(log: EventLog, job_id: str, last: int) -> Spoken | None:
    """The same as a conversation with tools, round by round."""
    events: list[Event] = []
    while (cursor := events[-1].seq if events else 0) < last:
        page = await log.read(job_id, cursor, _READ_BYTES)
        if not page:
            return None
        events.extend(event for event in page if event.seq <= last)
    return spoken(events)


async def until_stored(window: Window, last: int) -> None:
    """Returns once the log holds event `last`, or never will; the caller sets the time limit."""
    changed = asyncio.Event()
    window.listen(changed.set)
    try:
        while window.durable < last and window.failure is None and not window.moved:
            changed.clear()
            await changed.wait()
    finally:
        window.unlisten(changed.set)
