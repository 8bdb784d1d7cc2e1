"""One generation on its way from an engine to whoever asked for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from contracts.grants import Usage
from stream_broker.alarms import Alarm, Alarms
from stream_broker.engines import failures
from stream_broker.engines.connection import EngineConnection, Shortcut
from stream_broker.engines.deltas import Delta, Failure, Finish
from stream_broker.engines.dialects import Dialect
from stream_broker.engines.openai import OpenAIParser
from stream_broker.lines import told
from stream_broker.measures import Hearing

log = logging.getLogger(__name__)

# Of the body of a refusal, this much is read to find out what it says.
REFUSAL_MAX: Final = 64 << 10
# After so many seconds of silence, and as often: is there anybody left?
DOUBT_S: Final = 1.0
_ENDS: Final = frozenset({Finish, Failure})


class EngineSink(Protocol):
    """Who takes what an engine says."""

    def deltas(self, deltas: list[Delta]) -> None:
        """Takes what one read brought, at least one delta; called from the event loop.

        The last delta of the last call is a Finish or a Failure. May pause or close the
        stream; must not raise.
        """
        ...


class Intake(Shortcut, Protocol):
    """A shortcut for what one parser would say (`stream_broker.native`).

    `carry_max`: bytes of a chunk that it keeps until there is more of it.
    """

    carry_max: int

    def arm(self, head: bytes, tail: bytes, moving: bytes | None) -> None:
        """The form of the events that follow; see `Template`."""
        ...


class Dialer(Protocol):
    """Who finds connections for streams."""

    def dial(self, stream: EngineStream) -> None:
        """Opens a fresh connection: calls `attach` or `fail` later, until `forget`."""
        ...

    def forget(self, stream: EngineStream) -> None:
        """The stream is over."""
        ...

    def cutting(self, connection: EngineConnection) -> None:
        """The engine is to stop: its connection is about to be closed."""
        ...

    def doubt(self, stream: EngineStream) -> None:
        """The stream is silent: calls `gone` later if its engine takes no connections."""
        ...


class EngineStream:
    """The handle of one generation: the sink's side may pause, resume and close it.

    After its last delta, or after `close`, the sink is told nothing more. `hearing`, if
    given, is told when chunks come.
    """

    __slots__ = (
        "_alarm",
        "_alarms",
        "_clock",
        "_connection",
        "_dialect",
        "_dialer",
        "_hearing",
        "_idle_timeout",
        "_intake",
        "_over",
        "_parser",
        "_paused",
        "_refusal",
        "_request",
        "_sink",
    )

    def __init__(
        self,
        request: bytes,
        dialect: Dialect,
        sink: EngineSink,
        dialer: Dialer,
        idle_timeout: float,
        clock: Callable[[], float],
        alarms: Alarms,
        hearing: Hearing | None = None,
    ) -> None:
        self._request = request
        self._dialect = dialect
        self._parser = dialect.parser()
        self._sink = sink
        self._dialer = dialer
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._hearing = hearing
        self._connection: EngineConnection | None = None
        self._alarms = alarms
        self._alarm: Alarm | None = None
        self._intake: Intake | None = None
        self._refusal = b""
        self._paused = False
        self._over = False

    # For whoever asked.

    def pause(self) -> None:
        """Reads no more until `resume`; what the engine sends waits in the kernel."""
        self._paused = True
        self._stop_watch()
        if self._hearing is not None:
            self._hearing.pause()
        if self._connection is not None:
            self._connection.hold()

    def resume(self) -> None:
        """Reads again; the idle timeout starts anew."""
        if self._over or not self._paused:
            return
        self._paused = False
        if self._connection is not None:
            self._connection.go_on()
            self._watch()

    def close(self) -> None:
        """Ends the generation now: the engine sees its connection close. Idempotent."""
        if not self._over:
            if self._connection is not None:
                self._dialer.cutting(self._connection)
            self._conclude(clean=False)

    def usage(self) -> Usage | None:
        """The engine's last count so far, also after the end; None if it has told none."""
        return self._parser.usage()

    def shorten(self, make: Callable[[OpenAIParser, Hearing | None], Intake | None]) -> None:
        """Takes what is nothing but text past the sink, by what `make` makes of its parser."""
        if isinstance(self._parser, OpenAIParser) and not self._over:
            self._intake = make(self._parser, self._hearing)

    # For the client.

    def attach(self, connection: EngineConnection) -> None:
        """Sends the request on a connection that carries no other."""
        self._connection = connection
        connection.send(self._request, self)
        if self._paused:
            connection.hold()
        else:
            self._watch()

    def fail(self, failure: Failure) -> None:
        """Ends the generation with a failure."""
        if not self._over:
            self._deliver([failure])

    def gone(self) -> None:
        """Nobody takes connections at the engine: if it is silent still, this one is dead."""
        connection = self._connection
        if connection is not None and not self._paused and self._silent_for(connection) >= DOUBT_S:
            connection.lose()

    # For the connection.

    def body(self, status: int, data: bytes) -> None:
        """A piece of the answer."""
        if self._request:
            # Not to be sent again; of thousands of streams, the prompts would add up.
            self._request = b""
        if status == 200:
            deltas = self._parser.feed(data)
            if deltas:
                self._deliver(deltas)
            return
        self._refusal += data
        if len(self._refusal) > REFUSAL_MAX:
            self.end(status, complete=False)

    def end(self, status: int, complete: bool) -> None:
        """The end of the answer, or of the connection before one came."""
        if status == 200:
            deltas = self._parser.eof(complete)
            if deltas:
                self._deliver(deltas)
        elif status:
            log.warning("an engine answered %d: %s", status, told(status, bytes(self._refusal)))
            self.fail(self._dialect.refusal(status, self._refusal))
        else:
            self._end_without_answer()

    @property
    def carry_max(self) -> int:
        """See Exchange."""
        return 0 if self._intake is None else self._intake.carry_max

    def shortcut(self) -> Shortcut | None:
        """See Exchange."""
        intake, parser = self._intake, self._parser
        if intake is None or not isinstance(parser, OpenAIParser):
            return None
        form = parser.form()
        if form is None:
            return None
        intake.arm(form.head, form.tail, form.moving)
        return intake

    # Private.

    def _end_without_answer(self) -> None:
        """A reused connection may have been closed by an engine that had not yet read the
        request (llama.cpp closes after each stream although it promises to keep alive)."""
        connection = self._connection
        if connection is None or connection.heard:
            self.fail(failures.unreadable())
        elif connection.used > 1:
            self._stop_watch()
            self._connection = None
            self._dialer.dial(self)
        else:
            self.fail(failures.hung_up())

    def _deliver(self, deltas: list[Delta]) -> None:
        last = type(deltas[-1])
        if last in _ENDS:
            self._conclude(clean=last is Finish)
        else:
            hearing, connection = self._hearing, self._connection
            if hearing is not None and connection is not None:
                # The hot path: `hearing.chunk`, in place.
                at = connection.heard_at
                gap = at - hearing.since
                hearing.since = at
                if hearing.low < gap <= hearing.high:
                    hearing.run += 1
                else:
                    hearing.turn(gap)
        self._sink.deltas(deltas)

    def _conclude(self, *, clean: bool) -> None:
        """Lets go of everything; before the sink hears the last delta, for it may close."""
        self._over = True
        self._intake = None
        self._stop_watch()
        if self._hearing is not None:
            self._hearing.pause()
        connection, self._connection = self._connection, None
        if connection is not None:
            if clean:
                connection.leave()
            else:
                connection.abort()
        self._dialer.forget(self)

    def _watch(self, silent: float = 0.0) -> None:
        """One alarm a stream, which no token touches: looks again `DOUBT_S` after the last
        byte, then as often, and when the time is over."""
        until_doubt = DOUBT_S if silent >= DOUBT_S else DOUBT_S - silent
        delay = min(until_doubt, self._idle_timeout - silent)
        self._alarm = self._alarms.after(delay, self._check_silence)

    def _stop_watch(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _check_silence(self) -> None:
        connection = self._connection
        if connection is None:
            return
        silent = self._silent_for(connection)
        if silent >= self._idle_timeout:
            self.fail(failures.stalled())
            return
        if silent >= DOUBT_S:
            self._dialer.doubt(self)
        self._watch(silent)

    def _silent_for(self, connection: EngineConnection) -> float:
        return self._clock() - connection.heard_at
