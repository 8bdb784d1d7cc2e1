"""What a streamed shape is."""

from __future__ import annotations

from typing import Protocol

from stream_broker.events import Event


class View(Protocol):
    """Turns events into blocks of `text/event-stream`."""

    def opening(self) -> bytes:
        """What comes before the first event; may be empty."""

    def blocks(self, events: list[Event]) -> bytes:
        """The blocks of these events, in order; empty when they have no shape here."""

    def failure(self, event: Event) -> bytes:
        """The block for a job whose log was lost: no `id:`, it is not in the log."""
