"""The engines as embeddings are asked of them: calls, joined per model (`lanes.py`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from contracts.grants import EngineTarget
from stream_broker.calls import CallFailed, HttpCalls, NotConnected
from stream_broker.embeddings.lanes import Lane
from stream_broker.embeddings.request import Item
from stream_broker.embeddings.vectors import Vector
from stream_broker.embeddings.wire import EngineFailed, refusal, request_for, vectors_in
from stream_broker.engines import failures
from stream_broker.lines import told

_LOG = logging.getLogger(__name__)


class _Way(NamedTuple):
    """What may go in one call."""

    kind: str
    base_url: str
    model: str
    dimensions: int | None


class EmbeddingEngines:
    """Asks engines for vectors. `connect_timeout` and `timeout` (of a whole call) in seconds;
    `sent` is told how many items each call had."""

    def __init__(
        self,
        connect_timeout: float,
        timeout: float,
        monotonic: Callable[[], float],
        sent: Callable[[int], object],
    ) -> None:
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._monotonic = monotonic
        self._sent = sent
        self._calls: dict[str, HttpCalls] = {}
        self._lanes: dict[_Way, Lane] = {}

    async def vectors(
        self, target: EngineTarget, items: Sequence[Item], dimensions: int | None
    ) -> list[Vector]:
        """One for each item, in order. Raises EngineRefused or EngineFailed."""
        way = _Way(target.kind, target.base_url, target.model, dimensions)
        lane = self._lanes.get(way)
        if lane is None:
            lane = self._lanes[way] = Lane(partial(self._ask, target, dimensions), self._sent)
        try:
            return await lane.vectors(items)
        finally:
            if lane.idle:
                self._lanes.pop(way, None)

    async def aclose(self) -> None:
        """Ends all calls and connections."""
        for lane in list(self._lanes.values()):
            await lane.aclose()
        for calls in self._calls.values():
            await calls.aclose()

    async def _ask(
        self, target: EngineTarget, dimensions: int | None, items: Sequence[Item]
    ) -> list[Vector]:
        request = request_for(target, items, dimensions)
        calls = self._calls.get(target.base_url)
        if calls is None:
            # As many as there are engines: grants name no others.
            calls = self._calls[target.base_url] = HttpCalls(
                target.base_url,
                dict(request.headers),
                self._timeout,
                self._monotonic,
                connect_timeout=self._connect_timeout,
            )
        try:
            reply = await calls.send(request.method, request.path, request.body)
        except NotConnected as error:
            raise EngineFailed(failures.unreachable()) from error
        except CallFailed as error:
            timed_out = isinstance(error.__cause__, TimeoutError)
            failure = failures.stalled() if timed_out else failures.truncated()
            raise EngineFailed(failure) from error
        if reply.status == 200:
            return vectors_in(target, items, reply.body)
        said = told(reply.status, reply.body)
        _LOG.info("%s answered %d: %s", target.base_url, reply.status, said)
        raise refusal(reply.status, reply.body)
