"""A job whose relay runs in this process: engine → relay → window and log.

The shell around `relay.py`: it owns the engine's stream, numbers nothing and decides
nothing that the relay can decide. It ends in exactly one way: the terminal event is in
the log (it is `done`), or the log refuses this relay (another one has the job).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from contracts.grants import Usage
from stream_broker.alarms import Alarm, Alarms
from stream_broker.backlog import Share
from stream_broker.engines.deltas import Delta, Finish
from stream_broker.events import TERMINAL, Event, EventEncoder
from stream_broker.log.base import Append, Outcome
from stream_broker.log.writer import Writer
from stream_broker.record import JobHead, JobState
from stream_broker.relay import Relay
from stream_broker.tenure import Tenure
from stream_broker.window import Window

_LOG = logging.getLogger(__name__)


class EngineHandle(Protocol):
    """What a live job needs of its engine's stream."""

    def pause(self) -> None:
        """Stops reading."""

    def resume(self) -> None:
        """Reads on."""

    def close(self) -> None:
        """Ends the connection, which makes the engine stop generating."""

    def usage(self) -> Usage | None:
        """What the engine has counted so far, if it counts as it goes; also once closed."""


class LiveJob:
    """One running job. `engine` is the number of the grant's engine that serves it.

    `done`: nothing more will happen to it here; `on_done` is told so, once.

    `clock` gives Unix seconds, `monotonic` seconds for spans; `share`: how much it may hold
    that the log does not have; `max_pause` is in seconds; `tenure` is None where nobody else
    could take the job over.
    """

    __slots__ = (
        "__weakref__",
        "_alarms",
        "_clock",
        "_engine",
        "_held",
        "_max_pause",
        "_monotonic",
        "_paused",
        "_released",
        "_set",
        "_share",
        "done",
        "ended_at",
        "engine",
        "epoch",
        "fenced",
        "grace",
        "head",
        "job_id",
        "on_done",
        "relay",
        "tenure",
        "terminal",
        "viewers",
        "window",
        "writer",
    )

    def __init__(
        self,
        head: JobHead,
        epoch: int,
        relay: Relay,
        window: Window,
        writer: Writer,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        share: Share,
        max_pause: float,
        alarms: Alarms,
        tenure: Tenure | None = None,
    ) -> None:
        self.head = head
        self.job_id = head.job_id
        self.epoch = epoch
        self.relay = relay
        self.window = window
        self.done = False
        self.on_done: Callable[[LiveJob], None] | None = None
        self.engine = 0
        self.viewers = 0
        self.grace: Alarm | None = None
        self.fenced = False
        self.terminal: Event | None = None
        self.ended_at: float | None = None
        self.writer = writer
        self._clock = clock
        self._monotonic = monotonic
        self._share = share
        self._max_pause = max_pause
        self.tenure = tenure
        self._held = 0
        self._engine: EngineHandle | None = None
        self._paused = False
        self._released = False
        self._alarms = alarms
        self._set: list[Alarm] = []

    @property
    def running(self) -> bool:
        """Does this relay still have the job, without an end so far?"""
        return self.terminal is None and not self._released

    def attach(self, engine: EngineHandle) -> None:
        """An engine's stream has begun, the first one or one that goes on."""
        self._engine = engine
        self.relay.tally.count_by(engine.usage)
        if self.relay.state != "open" or self._released:
            engine.close()
        elif self._paused:
            engine.pause()

    def after(self, seconds: float, action: Callable[[], None]) -> Alarm:
        """Calls `action` after `seconds`, unless the job has ended by then."""
        alarm = self._alarms.after(seconds, action)
        self._set = [*(known for known in self._set if known.pending), alarm]
        return alarm

    def deltas(self, deltas: list[Delta]) -> None:
        """What the engine said; called from its `data_received`."""
        self._emit(self.relay.take(deltas, self._clock()))

    def notice(self, code: str, message: str, **more: Any) -> None:
        """Adds a notice to the log, with further members."""
        self._emit(self.relay.notice(code, message, **more))

    def tool_result(self, call_id: str, *, ok: bool, content: str) -> None:
        """Adds what became of a call to the log."""
        self._emit(self.relay.tool_result(call_id, ok=ok, content=content))

    def cancel(self, reason: str) -> None:
        """Ends the job now, also before its first token. Idempotent."""
        self._emit(self.relay.cancel(reason))

    def finish(self, reason: str) -> None:
        """Ends the job as complete without the engine."""
        self._emit(self.relay.take([Finish(reason, None)], self._clock()))

    def release(self) -> None:
        """Stops here without an end, so that another broker may go on."""
        self._released = True
        self._stop_engine()
        self._share.give_back()
        self.writer.drop(self)
        self.window.move()

    def fail(self, code: str, message: str) -> None:
        """Ends the job as failed. Idempotent."""
        self._emit(self.relay.fail(code, message))

    def state(self) -> JobState:
        """The record as far as the log holds it: never ahead of what may be shown."""
        ended = self.window.ended and self.terminal is not None
        return JobState(
            head=self.head,
            engine=self.engine,
            last_seq=self.window.durable,
            reach=self.window.last,
            first_token_at=self.relay.gaps.first,
            ended_at=self.ended_at if ended else None,
            end_name=self.terminal.name if ended and self.terminal else None,
            end=self.terminal.body() if ended and self.terminal else None,
        )

    def _emit(self, events: list[Event]) -> None:
        if not events or self._released:
            return
        self.window.append(events)
        if events[-1].name in TERMINAL:
            self.terminal = events[-1]
            self.ended_at = self._clock()
            self._stop_engine()
            self.relay.gaps.forget()
        else:
            self._pause_if_full()
        self.writer.add(self, events)

    def _pause_if_full(self) -> None:
        if self._share.full(self.window.unwritten) and not self._paused and self._engine:
            self._paused = True
            self._share.paused(self.window.unwritten)
            self._engine.pause()

    def _go_on_if_taken(self) -> None:
        if self._share.taken(self.window.unwritten) and self._paused and self._engine:
            self._paused = False
            self._engine.resume()

    def to_append(self, events: list[Event]) -> Append:
        """See `Writable`."""
        ended_at = self.ended_at if events[-1] is self.terminal else None
        return Append(self.head.job_id, self.epoch, events, self.relay.gaps.first, ended_at)

    def renewed(self, asked_at: float) -> None:
        """The log has renewed this relay's lease, as asked at `asked_at` (monotonic)."""
        if self.tenure is not None:
            self.tenure.renewed(asked_at)
            held, self._held = self._held, 0
            if held:
                self.stored(held)

    def stored(self, last: int) -> None:
        """See `Writable`: what is written may be shown, and the engine may go on."""
        if self.tenure is not None and not self.tenure.holds(self._monotonic()):
            self._held = last
            return
        self.window.advance(last)
        self._go_on_if_taken()
        if self.window.ended:
            self._finish()

    def refused(self, outcome: Outcome) -> None:
        """See `Writable`: another relay has the job, or its record is gone."""
        _LOG.warning("%s: the log refuses this relay: %s", self.head.job_id, outcome)
        self._released = True
        self._stop_engine()
        if outcome == "missing":
            self._fail_unlogged("the log of this job was lost")
            self._abandon("the log of this job was lost")
        else:
            self.fenced = True
            self.window.move()
        self._finish()

    def superseded(self) -> None:
        """The log says that another relay has the job, before this one has written again."""
        if not self.done:
            self.writer.drop(self)
            self.refused("fenced")

    def log_away(self, since: float) -> None:
        """See `Writable`: wait within bounds, then fail (CONTRACT, promise 9)."""
        if self._monotonic() - since < self._max_pause or self.window.failure is not None:
            return
        self._emit(self.relay.fail("log_unavailable", "the event log does not answer"))
        self._abandon("the event log does not answer")
        self._finish()

    def _fail_unlogged(self, message: str) -> None:
        """An end that no log takes any more; what was used is settled all the same."""
        for event in self.relay.fail("log_unavailable", message):
            self.terminal = event
            self.ended_at = self._clock()

    def _abandon(self, message: str) -> None:
        encoder = EventEncoder(self.head.job_id)
        members = {
            "code": "log_unavailable",
            "message": message,
            "retryable": True,
            "usage": self.relay.tally.close(None),
        }
        self.window.abandon(encoder.other(self.window.durable + 1, "job_error", members))

    def _stop_engine(self) -> None:
        for alarm in self._set:
            alarm.cancel()
        self._set.clear()
        if self._engine is not None:
            self._engine.close()
            # A viewer that is slow keeps this job for long, but not what was read last.
            self._engine = None

    def _finish(self) -> None:
        self.done = True
        self._share.give_back()
        told, self.on_done = self.on_done, None
        if told is not None:
            told(self)
