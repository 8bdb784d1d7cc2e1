"""The recent part of one job's log in memory, and how far it may be shown.

Fed either by the relay (on the broker that runs the job) or by the log's tail (on any
other). Viewers read from it by cursor; one that has fallen out reads the log instead.
Only what the log holds durably is visible: nothing beyond `durable` leaves here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stream_broker.events import Event

Listener = Callable[[], None]


class Window:
    """Events `first` … `last`, of which those up to `durable` may be shown.

    Bounded: durable events beyond `limit` bytes leave at the old end. Those not yet
    durable are bounded by the relay, which pauses its engine.
    """

    __slots__ = (
        "_bytes",
        "_events",
        "_limit",
        "_listeners",
        "durable",
        "ended",
        "failure",
        "last",
        "moved",
    )

    def __init__(self, limit: int, last: int = 0) -> None:
        self._events: list[Event] = []
        self._bytes = 0
        self._limit = limit
        self._listeners: set[Listener] = set()
        self.last = last
        self.durable = last
        self.ended = False
        self.moved = False
        self.failure: Event | None = None

    @property
    def first(self) -> int:
        """The number of the oldest event here (`last + 1` when empty)."""
        return self.last - len(self._events) + 1

    def append(self, events: Iterable[Event]) -> None:
        """Adds the next events. Raises ValueError when a number is left out or repeated."""
        for event in events:
            if event.seq != self.last + 1:
                raise ValueError(f"event {event.seq} after {self.last}")
            self._events.append(event)
            self._bytes += event.size
            self.last = event.seq

    def advance(self, durable: int) -> int:
        """The log holds everything up to `durable`: show it and let the oldest go.

        Returns the bytes of the events that became durable.
        """
        durable = min(durable, self.last)
        if durable <= self.durable:
            return 0
        fresh = self._events[self.durable - self.first + 1 : durable - self.first + 1]
        self.durable = durable
        self.ended = self.durable == self.last and self._events[-1].terminal
        if self._bytes > self._limit:
            self._shrink()
        self._wake()
        return sum(event.size for event in fresh)

    def abandon(self, failure: Event) -> None:
        """The log stays away: viewers are told `failure`, which is not part of the log."""
        self.failure = failure
        self._wake()

    def move(self) -> None:
        """Another relay feeds the log now: viewers are to follow it there."""
        self.moved = True
        self._wake()

    def read(self, cursor: int, max_bytes: int) -> list[Event] | None:
        """Visible events after `cursor`, oldest first, about `max_bytes` of them.

        Returns None when the next one has left the window: read the log.
        """
        if cursor + 1 < self.first:
            return None
        start = cursor + 1 - self.first
        events = self._events[start : start + max(0, self.durable - cursor)]
        for count, event in enumerate(events, 1):
            max_bytes -= event.size
            if max_bytes <= 0:
                return events[:count]
        return events

    def listen(self, listener: Listener) -> None:
        """Calls `listener` whenever more may be shown, until `unlisten`."""
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stops calling `listener`."""
        self._listeners.discard(listener)

    @property
    def viewers(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def _shrink(self) -> None:
        """Drops the oldest half, in one go so that the cost per event stays constant."""
        drop = 0
        while self._bytes > self._limit // 2 and self._events[drop].seq < self.durable:
            self._bytes -= self._events[drop].size
            drop += 1
        del self._events[:drop]

    def _wake(self) -> None:
        for listener in tuple(self._listeners):
            listener()
