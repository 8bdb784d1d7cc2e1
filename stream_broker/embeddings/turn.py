"""Waiting for a turn at engines that are full, without a job to tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from contracts.grants import EngineTarget, Grant, TurnAnswer
from contracts.problems import ProblemError
from stream_broker.control import ControlUnavailable

_ASK_AGAIN_S: Final = (0.05, 5.0)


class TurnSource(Protocol):
    """Who says when a request that was told to wait may start."""

    async def turn(self, grant_id: str) -> TurnAnswer:
        """Raises ProblemError or ControlUnavailable."""


async def engines_for(grant: Grant, source: TurnSource) -> Sequence[EngineTarget]:
    """The engines to ask, once it is the grant's turn; the caller sets the time limit.

    Raises ProblemError `overloaded` for a place that is lost. With the control plane away
    nobody says when: the grant's own engines are asked.
    """
    turn = grant.turn
    while turn is not None:
        least, most = _ASK_AGAIN_S
        await asyncio.sleep(max(least, min(turn.ask_again_s, most)))
        try:
            answer = await source.turn(grant.grant_id)
        except ProblemError as problem:
            raise ProblemError("overloaded", "No engine had room in time") from problem
        except ControlUnavailable:
            break
        if answer.engine is not None:
            return [answer.engine, *answer.fallbacks]
        turn = answer.turn
    return grant.targets
