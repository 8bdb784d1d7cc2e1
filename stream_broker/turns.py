"""Jobs that wait for their turn at an engine that is full: the control plane says when.

It is asked again and again rather than once for long, so that a wait outlives a restart of
either side. A job that is told to wait holds its stream slot, and no engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from contracts.grants import EngineTarget, TurnAnswer, Usage
from contracts.problems import ProblemError
from stream_broker.control import ControlUnavailable
from stream_broker.live import LiveJob

_LOG = logging.getLogger(__name__)

# Longer waits between two questions than this are not believed (seconds).
_ASK_MAX_S = 5.0
_ASK_MIN_S = 0.05
# So long the control plane may be away before a waiting job goes on without its leave.
AWAY_S = 5.0


class TurnSource(Protocol):
    """Who says when."""

    async def turn(self, grant_id: str) -> TurnAnswer:
        """Whether the job of this grant may start. Raises ProblemError or ControlUnavailable."""


class _Waiting:
    """Stands where the engine's stream will be: closed when the job ends or leaves."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def pause(self) -> None:
        """Nothing comes."""

    def resume(self) -> None:
        """Nothing comes."""

    def close(self) -> None:
        """The wait is over."""
        self.over.set()

    def usage(self) -> Usage | None:
        """Nothing was used."""
        return None


class Turns:
    """Waits for one process's jobs; `monotonic` gives seconds."""

    def __init__(self, source: TurnSource, monotonic: Callable[[], float]) -> None:
        self._source = source
        self._monotonic = monotonic
        self.waiting = 0

    async def wait(self, live: LiveJob) -> Sequence[EngineTarget] | None:
        """Returns the engines to ask, the first one first, once it is the job's turn; None
        when the job has ended or left this broker meanwhile."""
        waiting = _Waiting()
        live.attach(waiting)
        self.waiting += 1
        try:
            return await self._wait(live, waiting.over)
        finally:
            self.waiting -= 1

    async def _wait(self, live: LiveJob, over: asyncio.Event) -> Sequence[EngineTarget] | None:
        grant = live.head.grant
        turn, answered_at = grant.turn, self._monotonic()
        told: int | None = None
        while not over.is_set():
            if turn is not None and (told is None or turn.position < told):
                told = turn.position
                live.notice("queued", f"waiting for an engine: number {told}", position=told)
            await _pause(over, turn.ask_again_s if turn is not None else _ASK_MIN_S)
            if over.is_set():
                break
            try:
                answer = await self._source.turn(grant.grant_id)
            except ProblemError as problem:
                _refused(live, problem)
                return None
            except ControlUnavailable as error:
                if self._monotonic() - answered_at < AWAY_S:
                    continue
                _LOG.info("%s: starts without its turn: %s", live.job_id, error)
                live.notice("degraded_policy", "not waited for the control plane")
                return grant.targets
            answered_at = self._monotonic()
            if answer.engine is not None:
                return None if over.is_set() else [answer.engine, *answer.fallbacks]
            turn = answer.turn
        return None


async def _pause(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(_ASK_MIN_S, min(seconds, _ASK_MAX_S))):
            await over.wait()
    except TimeoutError:
        return


def _refused(live: LiveJob, problem: ProblemError) -> None:
    """The place in the queue is gone, or the wait was too long."""
    _LOG.info("%s: gets no turn: %s", live.job_id, problem.code)
    live.fail("overloaded", problem.detail or "no engine had room for this job in time")
