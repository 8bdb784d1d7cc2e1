"""What one viewer is given: a job's durable events after its cursor, in order.

From the window while the viewer keeps up, from the log when it has fallen behind; the
relay never waits for a viewer, and a viewer's place is one number.
"""

from __future__ import annotations

import asyncio

from stream_broker.events import Event
from stream_broker.log.base import EventLog, LogError
from stream_broker.window import Window

# One read of a viewer: enough to fill a socket, little enough to bound its memory.
READ_BYTES = 32 << 10


class LogExpired(LogError):
    """The log has gone; the cursor cannot be served any more."""


class Feed:
    """One viewer's place in one job's log."""

    def __init__(self, job_id: str, window: Window, log: EventLog, cursor: int) -> None:
        self.job_id = job_id
        self.cursor = cursor
        self._window = window
        self._log = log
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        window.listen(self._wake)

    async def next(self, timeout: float) -> list[Event]:
        """The next events, as soon as there are any; none after `timeout` seconds.

        Also returns none at once when the feed is closed, the log has ended (see
        `ended`) or another relay feeds it. Raises LogExpired, LogUnavailable.
        """
        events = await self._ready()
        if not events and not (self.ended or self.closed or self._window.moved):
            await self._wait(timeout)
            events = await self._ready()
        if events:
            self.cursor = events[-1].seq
        return events

    @property
    def ended(self) -> bool:
        """Everything has been given, and nothing more will come."""
        window = self._window
        if window.ended:
            return self.cursor >= window.last
        return window.failure is not None and self.cursor >= window.durable

    @property
    def failure(self) -> Event | None:
        """What to tell a viewer whose log was lost, once all of it has been given.

        It is not an event of the log.
        """
        return self._window.failure if self.ended and not self._window.ended else None

    def close(self) -> None:
        """Ends the feed: the viewer has gone, or is sent away."""
        self.closed = True
        self._window.unlisten(self._wake)
        self._wake()

    async def _ready(self) -> list[Event]:
        if self.closed:
            return []
        events = self._window.read(self.cursor, READ_BYTES)
        if events is None:
            limit = self._window.shown
            logged = await self._log.read(self.job_id, self.cursor, READ_BYTES)
            if self.closed:
                return []
            events = [event for event in logged if event.seq <= limit]
            if not events or events[0].seq != self.cursor + 1:
                raise LogExpired(self.job_id)
        return events

    async def _wait(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
