"""One HTTP/1.1 connection to an engine: the bytes, nothing of their meaning.

A Protocol instead of a stream reader, so that a token costs one callback and no task
(designs a to g in `docs/performance.md`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from stream_broker.engines.answer import HttpAnswer
from stream_broker.engines.origin import Origin

# How long the end of a body may take once its stream has said its last word.
DRAIN_S: Final = 1.0
# Where an event ends and a chunk with it. In a body without chunks the last two bytes would be
# the beginning of another event.
_EVENT_AND_CHUNK: Final = b"\n\n\r\n"


class Exchange(Protocol):
    """Who asked. After `end`, or after it left the connection, it is told nothing more."""

    def body(self, status: int, data: bytes) -> None:
        """A piece of the answer's body."""
        ...

    def end(self, status: int, complete: bool) -> None:
        """No more will come. `status` is 0 if no head came; `complete` if nothing is missing."""
        ...

    @property
    def carry_max(self) -> int:
        """Bytes of a chunk that its shortcut keeps until there is more; 0 if it has none."""
        ...

    def shortcut(self) -> Shortcut | None:
        """What takes the reads that follow; asked where a chunk ends with an event's end."""
        ...


class Shortcut(Protocol):
    """Takes reads of a body without their being parsed here."""

    def take(self, data: bytes, at: float) -> bytes | None:
        """Takes a read that came `at` (monotonic) and returns None; or returns what is to be
        parsed, this read and what it had kept of those before, and takes no more."""
        ...

    def stand_in(self, connection: EngineConnection) -> asyncio.BaseProtocol:
        """What is told of the reads that follow in the connection's place, until it gives what
        is to be parsed to `parse_on`."""
        ...


class Owner(Protocol):
    """Who keeps connections between their exchanges."""

    def connection_idle(self, connection: EngineConnection) -> None:
        """The connection may carry another request."""
        ...

    def connection_gone(self, connection: EngineConnection) -> None:
        """The connection is closed."""
        ...


def _more_lines(data: bytes, begin: int) -> bool:
    """Are there more ends of lines behind `begin` than the one of a chunk's size?"""
    return data.count(b"\n", begin) > 1 or data.count(b"\r", begin) > 1


class EngineConnection(asyncio.Protocol):
    """Carries one exchange at a time.

    Attributes: `origin`, where it leads; `used`, requests sent so far; `heard_at`, when
    the last byte came, or the request was sent, or reading was taken up again, by `clock`;
    `turn_bytes`, how long a read is that ends the connection's turn.
    """

    __slots__ = (
        "_answer",
        "_drain",
        "_exchange",
        "_held",
        "_loop",
        "_owner",
        "_shortened",
        "_transport",
        "clock",
        "heard_at",
        "origin",
        "turn_bytes",
        "used",
    )

    def __init__(
        self, owner: Owner, origin: Origin, turn_bytes: int, clock: Callable[[], float]
    ) -> None:
        self._owner = owner
        self.turn_bytes = turn_bytes
        self.clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: HttpAnswer | None = None
        self._exchange: Exchange | None = None
        self._shortened = False
        self._drain: asyncio.TimerHandle | None = None
        self._held = False
        self.origin = origin
        self.used = 0
        self.heard_at = 0.0

    # For the exchange.

    @property
    def is_open(self) -> bool:
        """Not closed as far as is known."""
        return self._transport is not None

    @property
    def heard(self) -> bool:
        """A byte of the current answer has come."""
        return self._answer is not None and self._answer.heard

    def send(
        self, request: bytes, exchange: Exchange, headers: dict[str, str] | None = None
    ) -> None:
        """Sends a request; the connection is open and carries no other exchange.

        `headers`, if given, is filled with those of the answer.
        """
        self._answer = HttpAnswer(headers)
        self._exchange = exchange
        self.used += 1
        self.heard_at = self.clock()
        if self._transport is not None:
            self._transport.write(request)

    def hold(self) -> None:
        """Stops reading."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Reads again."""
        self._held = False
        self.heard_at = self.clock()
        self._read_on()

    def leave(self) -> None:
        """The exchange has all it wants; what is left of the body is read and dropped."""
        self._exchange = None
        self._end_shortcut()
        if self._held:
            self.go_on()
        if self._answer is not None and not self._answer.complete:
            self._drain = self._loop.call_later(DRAIN_S, self.abort)

    def abort(self) -> None:
        """Closes at once; an engine that is still generating takes it as a cancel."""
        self._exchange = None
        self._end_shortcut()
        if self._transport is not None:
            self._transport.abort()

    def lose(self) -> None:
        """The engine is dead, although its machine keeps the connection open."""
        self._cut(complete=False)

    # For a shortcut's stand-in, with its `heard_at`.

    def end_turn(self) -> None:
        """Lets the other connections read first: uvloop would drain this socket dry."""
        if self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def parse_on(self, data: bytes) -> None:
        """What was not taken, and all reads from here on, are parsed again."""
        self._end_shortcut()
        if self._answer is not None:
            self._parse_read(self._answer, data)

    # For asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """The hot path: one read, as a rule one or a few tokens."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        self.heard_at = self.clock()
        if len(data) >= self.turn_bytes:
            self.end_turn()
        self._parse_read(answer, data)

    def eof_received(self) -> None:
        """The engine closed its side: the transport closes ours, `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, in order or (`exc`) not."""
        self._end_shortcut()
        self._transport = None
        self._owner.connection_gone(self)
        answer = self._answer
        if answer is not None:
            self._cut(complete=exc is None and answer.ends_with_close)

    # Private.

    def _parse_read(self, answer: HttpAnswer, data: bytes) -> None:
        carry_max = 0 if self._exchange is None else self._exchange.carry_max
        if carry_max:
            self._parse_up_to_a_chunk(answer, data, carry_max)
        else:
            self._parse(answer, data)

    def _parse(self, answer: HttpAnswer, data: bytes) -> None:
        body = answer.feed(data)
        if body and self._exchange is not None:
            self._exchange.body(answer.status, body)
        if answer.complete:
            self._finish(answer)
        elif answer.broken:
            self._cut(complete=False)

    def _parse_up_to_a_chunk(self, answer: HttpAnswer, data: bytes, carry_max: int) -> None:
        """Parses what ends with an event and its chunk; what follows may go the short way.

        Where that may hold the end of an event all is parsed: what one read says is said at once.
        """
        end = data.rfind(_EVENT_AND_CHUNK) + len(_EVENT_AND_CHUNK)
        begun = len(data) - end
        if end < len(_EVENT_AND_CHUNK) or begun > carry_max or _more_lines(data, end):
            self._parse(answer, data)
            return
        rest = data[end:]
        self._parse(answer, data[:end] if rest else data)
        if self._answer is answer and self._exchange is not None:
            shortcut = self._exchange.shortcut()
            if shortcut is not None and (not rest or shortcut.take(rest, self.heard_at) is None):
                self._begin_shortcut(shortcut)
                return
        if rest and self._answer is answer:
            self._parse(answer, rest)

    def _finish(self, answer: HttpAnswer) -> None:
        """The answer is whole: the connection is free again, or done for."""
        exchange, self._exchange, self._answer = self._exchange, None, None
        self._end_shortcut()
        self._stop_drain()
        if exchange is not None:
            exchange.end(answer.status, complete=True)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if answer.reusable:
            self._owner.connection_idle(self)
        else:
            transport.abort()

    def _cut(self, *, complete: bool) -> None:
        """The answer ends here, whole or not, and the connection with it."""
        exchange, self._exchange = self._exchange, None
        self._stop_drain()
        self.abort()
        if exchange is not None and self._answer is not None:
            exchange.end(self._answer.status, complete)
        self._answer = None

    def _stop_drain(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None

    def _begin_shortcut(self, shortcut: Shortcut) -> None:
        # What was just parsed may have had the connection closed.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.set_protocol(shortcut.stand_in(self))
            self._shortened = True

    def _end_shortcut(self) -> None:
        if self._shortened:
            self._shortened = False
            if self._transport is not None:
                self._transport.set_protocol(self)

    def _read_on(self) -> None:
        if not self._held and self._transport is not None:
            self._transport.resume_reading()
