"""All viewer connections of this process: counted, bounded, and told to drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from contracts.problems import ProblemError
from stream_broker.alarms import Alarms
from stream_broker.measures import Delivery
from stream_broker.metrics import BrokerMetrics
from stream_broker.native import Native
from stream_broker.pump import FrameConnection, Shorten
from stream_broker.tasks import end
from stream_broker.views.base import View
from stream_broker.watch import Watch


class Drainable(Protocol):
    """A connection that is told when its broker drains, and when it ends."""

    def drain(self) -> None:
        """Ends it, if its client can come back by itself."""

    def cut(self) -> None:
        """Ends it now."""

    @property
    def delivered(self) -> int:
        """Events written to it so far."""

    @property
    def lag(self) -> int:
        """Events that it may be shown and has not been written."""


class Viewers:
    """Holds at most `most` connections, and the `alarms` of them all. `clock`: Unix seconds.

    `native`: what shortens their pumps, if anything does.
    """

    def __init__(
        self,
        metrics: BrokerMetrics,
        most: int,
        clock: Callable[[], float] = time.time,
        native: Native | None = None,
    ) -> None:
        self.alarms = Alarms()
        self._clock = clock
        self._delivered = 0
        self._metrics = metrics
        self._native = native
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
        if viewer in self._open:
            self._delivered += viewer.delivered
        self._open.discard(viewer)
        if not self._open:
            self._empty.set()

    def delivery(self, watch: Watch, cursor: int) -> Delivery:
        """What measures how a viewer is served from `cursor` on."""
        head = watch.state.head
        # Who comes later is not waiting for the first text, but reads what was said.
        early = cursor == 0 and watch.state.first_token_at is None
        began = head.created_at if early else None
        return self._metrics.delivery(head.job_id, head.model, began, self._clock)

    def shorten(self, connection: FrameConnection, view: View) -> Shorten | None:
        """What makes the native part of a viewer's pump, where there is one."""
        return None if self._native is None else self._native.outlets(connection, view)

    @property
    def delivered(self) -> int:
        """Events written to viewers so far."""
        return self._delivered + sum(viewer.delivered for viewer in self._open)

    @property
    def lag(self) -> int:
        """Of the viewer that is furthest behind: events that it may be shown."""
        return max((viewer.lag for viewer in self._open), default=0)

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
