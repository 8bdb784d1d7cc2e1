"""Writes what one viewer may see, whenever its job or its client moves.

A viewer has no task, no queue and no timer that a token touches: the job's window calls
`_pump`, which writes whole blocks as one frame until the client's connection is full,
and the connection calls it again when the client has taken enough. What the client has
not taken it finds again by its cursor, so a slow one costs what its buffers hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from stream_broker.alarms import Alarms
from stream_broker.events import Event
from stream_broker.measures import Delivery
from stream_broker.patience import Patience
from stream_broker.views.base import View
from stream_broker.window import Listener, Window

KEEP_ALIVE = b": keep-alive\n"
# One frame: enough that catching up is cheap, little enough to bound what is queued.
FRAME_BYTES = 8 << 10


class Outlet(Protocol):
    """What does in a pump's place what `_pump` and `give` do (`stream_broker.native`)."""

    def __call__(self) -> None:
        """As `_pump`."""

    def give(self, events: list[Event]) -> bool:
        """As `Pump.give`, or returns False."""


# Makes it, where there is one for the pump's view and connection.
Shorten = Callable[["Pump"], Outlet | None]


class FrameConnection(Protocol):
    """What a pump needs of its client's connection."""

    full: bool

    @property
    def open(self) -> bool:
        """Not closed as far as is known."""

    def write_frame(self, body: bytes) -> None:
        """Sends a frame, or queues it when the client is slow."""

    def unsent(self) -> int:
        """Bytes that the client has not taken."""


class Pump:
    """One viewer's stream. `cursor` is the number of the last event written.

    `over` says why nothing more will be written, once that is so: `gone`, `drained` or
    `send_timeout`. `heartbeat` and `send_timeout` are in seconds. `delivery` measures.
    """

    __slots__ = (
        "_alarm",
        "_alarms",
        "_connection",
        "_heartbeat",
        "_loop",
        "_outlet",
        "_patience",
        "_room",
        "_step",
        "_stopped",
        "_view",
        "_window",
        "_wrote_at",
        "cursor",
        "delivery",
        "over",
    )

    def __init__(
        self,
        connection: FrameConnection,
        view: View,
        cursor: int,
        *,
        heartbeat: float,
        send_timeout: float,
        alarms: Alarms,
        shorten: Shorten | None = None,
    ) -> None:
        self._connection = connection
        self._view = view
        self._heartbeat = heartbeat
        self._patience = Patience(send_timeout)
        self._loop = asyncio.get_running_loop()
        self._window: Window | None = None
        self._stopped: Callable[[str], None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._wrote_at = self._loop.time()
        self._alarms = alarms
        self._alarm = alarms.after(min(heartbeat, send_timeout), self._on_time)
        self.cursor = cursor
        self.delivery: Delivery | None = None
        self.over: str | None = None
        self._step: Listener | None = None
        self._outlet = shorten(self) if shorten is not None else None

    def follow(self, window: Window, stopped: Callable[[str], None]) -> None:
        """Writes from the window until that cannot go on; then `stopped` hears why, once,
        in a later turn of the loop.

        `ended` (all is written and no more will come), `failed` (the same, but the log
        was lost), `behind` (the next event has left the window), `moved` (another relay
        feeds the log), or what `over` says.
        """
        self._stopped = stopped
        if self.over is not None:
            self._stop(self.over)
            return
        self._window = window
        self._step = step = self._outlet or self._pump
        window.listen(step)
        step()

    async def writable(self) -> None:
        """Returns once more may be written, or `over`."""
        if self._connection.full and self.over is None:
            self._note_full()
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None

    def write(self, body: bytes) -> None:
        """Writes whole blocks; nothing when there are none, or nobody to read them."""
        if body and self.over is None:
            self._connection.write_frame(body)
            self._wrote_at = self._loop.time()

    def give(self, events: list[Event]) -> None:
        """Writes the events that follow the cursor."""
        if self._outlet is not None and self._outlet.give(events):
            return
        self.write(self._view.blocks(events))
        self.cursor = events[-1].seq

    def end(self, why: str) -> None:
        """Writes no more. The first reason stands."""
        if self.over is None:
            self.over = why
            if self.delivery is not None:
                self.delivery.pause()
            self._alarm.cancel()
            self._stop(why)
            self._go_on()
            # Of either the other would live as long.
            self._outlet = None

    def writable_again(self) -> None:
        """The connection is not full any more."""
        self._patience.end()
        if self._step is not None:
            self._step()
        else:
            self._go_on()

    def _pump(self) -> None:
        window = self._window
        if window is None:
            return
        connection, delivery = self._connection, self.delivery
        while not connection.full:
            if self.cursor < window.shown:
                events = window.read(self.cursor, FRAME_BYTES)
                if events is None:
                    self._stop("behind")
                    return
                last = events[-1]
                self.cursor = last.seq
                body = self._view.blocks(events)
                if body:
                    connection.write_frame(body)
                    self._wrote_at = now = self._loop.time()
                    if delivery is not None:
                        if last.name != "token":
                            delivery.frame(last, now)
                            continue
                        # The hot path: `delivery.frame`, in place.
                        gap = now - delivery.since
                        delivery.since = now
                        if delivery.low < gap <= delivery.high:
                            delivery.run += 1
                        else:
                            delivery.turn(gap)
            else:
                self._check_end(window)
                return
        self._note_full()

    def _check_end(self, window: Window) -> None:
        if window.ended and self.cursor >= window.last:
            self._stop("ended")
        elif window.failure is not None and self.cursor >= window.durable:
            self._stop("failed")
        elif window.moved:
            self._stop("moved")

    def _stop(self, why: str) -> None:
        window, self._window = self._window, None
        step, self._step = self._step, None
        if window is not None and step is not None:
            window.unlisten(step)
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            # What follows is no matter of whoever has moved the window.
            self._loop.call_soon(stopped, why)

    def _go_on(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _note_full(self) -> None:
        if self.delivery is not None:
            self.delivery.pause()
        if not self._patience.tried:
            self._arm(min(self._alarm.when, self._look(self._loop.time())))

    def _on_time(self) -> None:
        """Keeps a silent stream alive, and ends one whose client takes nothing."""
        now = self._loop.time()
        if self._connection.full and self._connection.open:
            again = self._look(now)
            if again <= now:
                self.end("send_timeout")
            self._arm(again)
            return
        if now - self._wrote_at >= self._heartbeat:
            self.write(KEEP_ALIVE)
        self._arm(self._wrote_at + self._heartbeat)

    def _look(self, now: float) -> float:
        return self._patience.look(now, self._connection.unsent())

    def _arm(self, when: float) -> None:
        self._alarm.cancel()
        if self.over is None:
            self._alarm = self._alarms.after(when - self._loop.time(), self._on_time)
