"""All viewer connections of this process: counted, bounded, and told to drain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from contracts.problems import ProblemError
from stream_broker.alarms import Alarms
from stream_broker.metrics import BrokerMetrics
from stream_broker.tasks import end


class Drainable(Protocol):
    """A connection that is told when its broker drains, and when it ends."""

    def drain(self) -> None:
        """Ends it, if its client can come back by itself."""

    def cut(self) -> None:
        """Ends it now."""


class Viewers:
    """Holds at most `most` connections, and the `alarms` of them all."""

    def __init__(self, metrics: BrokerMetrics, most: int) -> None:
        self.alarms = Alarms()
        self._metrics = metrics
        self._most = most
        self._open: set[Drainable] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self) -> None:
        """Raises ProblemError `overloaded` when no more may come."""
        if len(self._open) >= self._most:
            raise ProblemError("overloaded", "This broker serves as many viewers as it may")

    def add(self, viewer: Drainable) -> None:
        """A connection has begun."""
        self._open.add(viewer)
        self._empty.clear()
        if self._draining:
            viewer.drain()

    def remove(self, viewer: Drainable) -> None:
        """A connection has ended."""
        self._open.discard(viewer)
        if not self._open:
            self._empty.set()

    def closed(self, reason: str) -> None:
        """Counts how a connection ended."""
        self._metrics.viewers_closed.labels(reason).inc()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of a connection, which ends with this at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def all_gone(self) -> None:
        """Returns once no connection is open; the caller sets the time limit."""
        await self._empty.wait()

    def drain(self) -> None:
        """Ends the connections that can come back, now and from now on."""
        self._draining = True
        for viewer in tuple(self._open):
            viewer.drain()

    async def aclose(self) -> None:
        """Ends all connections, and what they wait for."""
        for viewer in tuple(self._open):
            viewer.cut()
        await end(self._tasks)
        self.alarms.close()
