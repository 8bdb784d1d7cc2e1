"""One running job, and the streams of its viewers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stream_broker.log.base import LogUnavailable
from stream_broker.serving import EventStream
from stream_broker.viewers import Viewers
from stream_broker.views.base import View
from stream_broker.views.native import NativeView
from stream_broker.watch import Watch
from tests.stream_broker.asgi import Exchange
from tests.stream_broker.building import JOB
from tests.stream_broker.parts import Parts

Find = Callable[[int], Awaitable[Watch]]


async def unavailable(_: int) -> Watch:
    """A log that cannot be read just now."""
    raise LogUnavailable("away")


class Place:
    """One running job and its viewers."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.viewers = Viewers(parts.metrics, 100)

    async def open(
        self,
        *,
        cursor: int = 0,
        resumable: bool = True,
        heartbeat: float = 15.0,
        send_timeout: float = 30.0,
        view: View | None = None,
        find: Find | None = None,
        away: bool = False,
        **scope: Any,
    ) -> Exchange:
        stream = EventStream(
            JOB,
            None if away else await self.parts.watch(cursor),
            find or self.parts.watch,
            view or NativeView(),
            self.viewers,
            cursor=cursor,
            heartbeat=heartbeat,
            send_timeout=send_timeout,
            node="node-3",
            resumable=resumable,
        )
        return Exchange(stream, **scope)

    def say(self, *deltas: Any) -> None:
        self.parts.engines.streams[0].say(*deltas)

    def closed(self, reason: str) -> float:
        counter = self.parts.metrics.viewers_closed.labels(reason)
        return float(counter._value.get())
