"""The recent part of one job's log in memory, and how far it may be shown.

Fed either by the relay (on the broker that runs the job) or by the log's tail (on any
other). Viewers read from it by cursor; one that has fallen out reads the log instead.
Only what the log holds durably is visible: nothing beyond `durable` leaves here, and
with a gate nothing beyond `shown`, which follows `durable` at the pacer's word.
"""

from __future__ import annotations

from collections.abc import Callable

from stream_broker.events import OVERHEAD, TERMINAL, Event

# What a viewer that keeps up may lag before it is served from the log. In memory it is
# about twice as much, once for each job that runs or has viewers here.
WINDOW_BYTES = 24 << 10
# All windows of a process: beyond some 200 of them each is smaller. One that keeps up needs
# little of it, for what it lags at first is in its socket.
_ALL_BYTES = 5 << 20
_LEAST_BYTES = 4 << 10

Listener = Callable[[], None]
Gate = Callable[[], None]


class Room:
    """What each of many windows may keep, in bytes: the less, the more there are."""

    __slots__ = ("each",)

    def __init__(self) -> None:
        self.each = _ALL_BYTES

    def share(self, windows: int) -> None:
        """There are so many now."""
        self.each = max(_LEAST_BYTES, _ALL_BYTES // max(1, windows))


_ALONE = Room()


class Window:
    """Events `first` … `last`, of which those up to `shown` may be read.

    Bounded: shown events beyond `limit` bytes, or what `room` has for each, leave at the old
    end, and most of them when the log has ended: a viewer that holds on to it may be frozen.
    Those not yet durable, `unwritten` bytes, are bounded by the relay, which pauses its engine.
    A `gate` is called instead of showing whenever `durable` has moved; it calls `show`.
    """

    __slots__ = (
        "_before",
        "_bytes",
        "_events",
        "_limit",
        "_listeners",
        "_room",
        "durable",
        "ended",
        "failure",
        "gate",
        "last",
        "moved",
        "shown",
        "unwritten",
    )

    def __init__(self, limit: int, last: int = 0, room: Room = _ALONE) -> None:
        self._events: list[Event] = []
        self._before = last
        self._bytes = 0
        self._limit = limit
        self._room = room
        self._listeners: tuple[Listener, ...] = ()
        self.gate: Gate | None = None
        self.last = last
        self.durable = last
        self.shown = last
        self.ended = False
        self.moved = False
        self.failure: Event | None = None
        self.unwritten = 0

    @property
    def first(self) -> int:
        """The number of the oldest event here (`last + 1` when empty)."""
        return self._before + 1

    def append(self, events: list[Event]) -> None:
        """Adds the next events. Raises ValueError when a number is left out or repeated."""
        last = self.last
        for event in events:
            last += 1
            if event.seq != last:
                raise ValueError(f"event {event.seq} after {last - 1}")
        self._events += events
        self.last = last
        added = sum([len(event.data) for event in events]) + OVERHEAD * len(events)
        self._bytes += added
        self.unwritten += added

    def advance(self, durable: int) -> None:
        """The log holds everything up to `durable`: it may be shown, as the gate has it."""
        if durable > self.last:
            durable = self.last
        if durable <= self.durable:
            return
        if durable == self.last:
            self.unwritten = 0
            self.ended = self._events[-1].name in TERMINAL
        else:
            fresh = self._events[self.durable - self._before : durable - self._before]
            self.unwritten -= sum([len(event.data) + OVERHEAD for event in fresh])
        self.durable = durable
        if self.gate is None:
            self.show(durable)
        else:
            self.gate()

    def show(self, shown: int) -> None:
        """Everything up to `shown` may be read; the oldest that is too much goes."""
        if shown <= self.shown:
            return
        self.shown = shown
        # First those who keep up: what came at once may be more than may stay.
        for listener in self._listeners:
            listener()
        if self.ended and shown == self.last:
            self._shrink(self._limit // 8)
        elif self._bytes > self._room.each or self._bytes > self._limit:
            self._shrink(min(self._room.each, self._limit) // 2)

    def abandon(self, failure: Event) -> None:
        """The log stays away: viewers are told `failure`, which is not part of the log."""
        self.failure = failure
        self._tell()

    def move(self) -> None:
        """Another relay feeds the log now: viewers are to follow it there."""
        self.moved = True
        self._tell()

    def read(self, cursor: int, max_bytes: int) -> list[Event] | None:
        """Events after `cursor` that may be shown, oldest first, about `max_bytes` of them.

        Returns None when the next one has left the window: read the log.
        """
        count = self.shown - cursor
        start = cursor - self._before
        if start < 0:
            return None
        if count <= 1:
            return self._events[start : start + 1] if count == 1 else []
        events = self._events[start : start + count]
        for taken, event in enumerate(events, 1):
            max_bytes -= len(event.data) + OVERHEAD
            if max_bytes <= 0:
                return events[:taken]
        return events

    def listen(self, listener: Listener) -> None:
        """Calls `listener` whenever more may be shown, until `unlisten`."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Stops calling `listener`."""
        self._listeners = tuple(known for known in self._listeners if known != listener)

    @property
    def viewers(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def _shrink(self, target: int) -> None:
        """Drops the oldest, many in one go so that the cost per event stays constant."""
        drop, left = 0, self._bytes
        for event in self._events[: self.shown - self._before - 1]:
            if left <= target:
                break
            left -= len(event.data) + OVERHEAD
            # A log in memory keeps the event, but who reads it there is rare.
            event.forget_block()
            drop += 1
        self._bytes = left
        del self._events[:drop]
        self._before += drop

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
