"""One viewer's hold on a job: what it may read, and what to undo when it leaves."""

from __future__ import annotations

from collections.abc import Callable

from stream_broker.events import Event
from stream_broker.feed import Feed, LogExpired
from stream_broker.log.base import EventLog
from stream_broker.record import JobState
from stream_broker.window import Window


class Watch:
    """A job as one viewer sees it from `cursor` on. `left` is called once, by `close`."""

    __slots__ = ("_cursor", "_feed", "_left", "_log", "closed", "state", "window")

    def __init__(
        self,
        state: JobState,
        window: Window,
        log: EventLog,
        cursor: int,
        left: Callable[[], None],
    ) -> None:
        self.state = state
        self.window = window
        self.closed = False
        self._log = log
        self._cursor = cursor
        self._left = left
        self._feed: Feed | None = None

    @property
    def over(self) -> bool:
        """The log has ended where this viewer begins: there is nothing to serve."""
        return self.window.ended and self._cursor >= self.window.last

    @property
    def feed(self) -> Feed:
        """The job as something to wait for, for who has a task of its own."""
        if self._feed is None:
            self._feed = Feed(self.state.head.job_id, self.window, self._log, self._cursor)
        return self._feed

    async def read(self, cursor: int, max_bytes: int) -> list[Event]:
        """What has left the window: events after `cursor` out of the log, never none.

        Raises LogExpired and LogUnavailable.
        """
        shown = self.window.shown
        logged = await self._log.read(self.state.head.job_id, cursor, max_bytes)
        events = [event for event in logged if event.seq <= shown]
        if not events or events[0].seq != cursor + 1:
            raise LogExpired(self.state.head.job_id)
        return events

    def close(self) -> None:
        """The viewer has gone. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self._feed is not None:
            self._feed.close()
        self._left()
