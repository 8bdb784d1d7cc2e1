"""The log as it is: `GET /v1/stream`."""

from __future__ import annotations

from stream_broker.events import Event

RETRY = b"retry: 1000\n"


class NativeView:
    """Blocks made once per event and shared. `retry:` stands inside the first one sent."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def opening(self) -> bytes:
        """Nothing: `retry:` must not stand alone (lessons, wire rule 1)."""
        return b""

    def blocks(self, events: list[Event]) -> bytes:
        """See View."""
        if len(events) == 1:
            return self._first(events[0].block)
        return self._first(b"".join([event.block for event in events]))

    def failure(self, event: Event) -> bytes:
        """See View."""
        return self._first(b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data))

    def _first(self, body: bytes) -> bytes:
        if self._begun or not body:
            return body
        self._begun = True
        return RETRY + body
