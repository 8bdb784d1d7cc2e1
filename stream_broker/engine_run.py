"""One job's way through the engines of its grant."""

from __future__ import annotations

import asyncio
import logging

from contracts.grants import EngineTarget
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Delta, Failure
from stream_broker.live import LiveJob

_LOG = logging.getLogger(__name__)
_GO_ON_AFTER = ("engine_unreachable", "engine_error")


class EngineRun:
    """The sink of a job's engines: the first that answers, the next if one cannot.

    Only a failure before the first chunk leads on to the next engine of the grant.
    """

    def __init__(
        self,
        live: LiveJob,
        targets: list[EngineTarget],
        client: EngineClient,
        call: EngineCall,
    ) -> None:
        self._live = live
        self._targets = list(targets)
        self._client = client
        self._call = call
        self._said_before = self._said()
        self._next: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the next engine that can be asked; returns at once."""
        while self._live.relay.state == "open":
            target = self._targets.pop(0)
            try:
                engine = await self._client.start(target, self._call, self)
            except Exception:
                _LOG.exception("%s: %s cannot be asked", self._live.head.job_id, target.base_url)
                if not self._targets:
                    self._live.fail("internal", "no engine of this job can be asked")
            else:
                self._live.attach(engine)
                return

    def deltas(self, deltas: list[Delta]) -> None:
        """What the engine says; called from its connection."""
        first = deltas[0]
        failed = isinstance(first, Failure) and first.code in _GO_ON_AFTER
        if failed and self._targets and self._said() == self._said_before:
            _LOG.warning("%s: %s, trying the next engine", self._live.head.job_id, first)
            self._next = asyncio.get_running_loop().create_task(self.start())
        else:
            self._live.deltas(deltas)

    def _said(self) -> int:
        return self._live.relay.produced + self._live.relay.tool_calls

    async def aclose(self) -> None:
        """Ends a start that is under way."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
