"""Has the calls of the policy's tools carried out: the control plane does, brokers never.

answered, well or not       a `tool_result`; the model is told
refused (no such tool)      a `tool_result` that is not ok; the model may mend it
no answer within patience   the job fails: `tool_failed`
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from contracts.problems import ProblemError
from contracts.tools import CONTENT_MAX, Invocation, ToolAnswer
from stream_broker.control import ControlUnavailable
from stream_broker.engines.deltas import ToolCall
from stream_broker.live import LiveJob
from stream_broker.tasks import together

_LOG = logging.getLogger(__name__)

# Calls of one round that are carried out; a model that makes more is told so.
CALLS_MAX: Final = 16
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0


class ToolSource(Protocol):
    """See `ControlClient`."""

    async def invoke(self, name: str, call: Invocation, timeout: float) -> ToolAnswer:
        """Calls a tool. Raises ProblemError or ControlUnavailable."""


class ToolDesk:
    """Answers the calls of one process's jobs. `patience`: seconds for one call, over all
    tries; `count` hears what became of each: `ok`, `failed` or `unreachable`."""

    def __init__(
        self,
        source: ToolSource,
        patience: float,
        monotonic: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._source = source
        self._patience = patience
        self._monotonic = monotonic
        self._count = count

    async def answer(self, live: LiveJob) -> None:
        """Adds the result of every open call of a job, each as soon as it is there."""
        calls = list(live.relay.rounds.open.values())
        if live.relay.rounds.used_up:
            for call in calls:
                live.tool_result(call.id, ok=False, content="No more tools can be called.")
            return
        for call in calls[CALLS_MAX:]:
            content = f"At most {CALLS_MAX} tools can be called at once."
            live.tool_result(call.id, ok=False, content=content)
        await together(*(self._answer(live, call) for call in calls[:CALLS_MAX]))

    async def _answer(self, live: LiveJob, call: ToolCall) -> None:
        answer = await self._asked(live, call)
        if answer is None:
            self._count("unreachable")
            live.fail("tool_failed", f"the tool {call.name} could not be called in time")
            return
        self._count("ok" if answer.ok else "failed")
        live.tool_result(call.id, ok=answer.ok, content=answer.content)

    async def _asked(self, live: LiveJob, call: ToolCall) -> ToolAnswer | None:
        if call.name not in live.relay.rounds.granted:
            return ToolAnswer(ok=False, content=f"There is no tool called {call.name!r}.")
        asked = Invocation(
            job_id=live.job_id,
            id=call.id,
            arguments=call.arguments,
            grant_id=live.head.grant.grant_id,
        )
        until, pause = self._monotonic() + self._patience, _PAUSE_MIN_S
        while (left := until - self._monotonic()) > 0:
            try:
                answer = await self._source.invoke(call.name, asked, left)
            except ControlUnavailable as error:
                _LOG.debug("%s: %s is not called yet: %s", live.job_id, call.name, error)
            except ProblemError as problem:
                if problem.status < 500:
                    return ToolAnswer(ok=False, content=problem.detail)
            else:
                if len(answer.content) > CONTENT_MAX:
                    return ToolAnswer(ok=False, content="The tool's answer is too long.")
                return answer
            await asyncio.sleep(min(pause, max(0.0, until - self._monotonic())))
            pause = min(_PAUSE_MAX_S, pause * 2)
        return None
