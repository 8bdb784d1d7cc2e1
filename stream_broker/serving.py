"""Serves one viewer over HTTP: finds its job, keeps its pump going, ends its stream.

The ways in which a stream ends, and what the client then knows:

    terminal event sent       clean end             the job is over
    log lost                  error block, end      the job is over
    log away for too long     clean end, no terminal  come back (others: an error block)
    broker draining           clean end, no terminal  come back (resumable streams only)
    client gone               nothing to send       its cursor stays valid
    client takes nothing      connection aborted    its cursor stays valid
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from contracts.problems import ProblemError
from stream_broker.connection import EXTENSION, StreamConnection
from stream_broker.events import Event, EventEncoder
from stream_broker.feed import LogExpired
from stream_broker.log.base import LogUnavailable
from stream_broker.pump import FRAME_BYTES, Pump
from stream_broker.viewers import Viewers
from stream_broker.views.base import View
from stream_broker.watch import Watch

_LOG = logging.getLogger(__name__)
# How long a viewer is kept waiting for a log that cannot be read just now (seconds).
LOG_PATIENCE_S = 10.0
_LOG_RETRY_S = 0.2

# Ends of a stream without the end of its job, other than its client's or a drain.
_LOST = ("expired", "lost", "log_away")

# What a pump's `over` says while its client may still be taking what was written.
_HERE = (None, "drained")

Find = Callable[[int], Awaitable[Watch]]


class EventStream:
    """An ASGI response that streams a job in one view.

    `find(cursor)` opens a watch of the job: `watch` is one that is open already, or
    None when the log could not be read just now. `resumable` streams are ended by a
    drain. The watch is closed when the stream ends.

    Once its head is sent it has no task: the pump says when there is something to do. What
    has to be waited for then (the log, a slow client's last words) is a task of `viewers`.
    """

    __slots__ = (
        "_connection",
        "_cursor",
        "_find",
        "_heartbeat",
        "_job_id",
        "_node",
        "_pump",
        "_resumable",
        "_send_timeout",
        "_view",
        "_viewers",
        "_watch",
    )

    def __init__(
        self,
        job_id: str,
        watch: Watch | None,
        find: Find,
        view: View,
        viewers: Viewers,
        *,
        cursor: int,
        heartbeat: float,
        send_timeout: float,
        node: str,
        resumable: bool,
    ) -> None:
        self._job_id = job_id
        self._watch = watch
        self._find = find
        self._view = view
        self._viewers = viewers
        self._cursor = cursor
        self._heartbeat = heartbeat
        self._send_timeout = send_timeout
        self._node = node
        self._resumable = resumable
        self._connection: StreamConnection | None = None
        self._pump: Pump | None = None

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Sends the head. The stream goes on by itself until one of the ends above."""
        connection: StreamConnection = scope["extensions"][EXTENSION]
        try:
            head = stream_headers(self._node, self._job_id)
            await self._send(
                connection, send, {"type": "http.response.start", "status": 200, "headers": head}
            )
            if scope["method"] == "HEAD":
                await self._send(connection, send, {"type": "http.response.body"})
            else:
                self._begin(connection)
        except TimeoutError:
            connection.abort()
            self._viewers.closed("send_timeout")
        finally:
            if self._connection is None:
                self._close_watch()

    @property
    def delivered(self) -> int:
        """See Drainable."""
        return 0 if self._pump is None else self._pump.cursor - self._cursor

    @property
    def lag(self) -> int:
        """See Drainable."""
        if self._pump is None or self._watch is None:
            return 0
        return max(0, self._watch.window.shown - self._pump.cursor)

    def drain(self) -> None:
        """Ends the stream between blocks, if its client can come back by itself."""
        if self._resumable and self._pump is not None:
            self._pump.end("drained")

    def cut(self) -> None:
        """Ends the stream where it is: there is no more broker to serve it."""
        if self._connection is not None and self._pump is not None:
            self._connection.cut()
            self._pump.end("gone")
            self._end("gone")

    def gone(self) -> None:
        """See `Taker`."""
        if self._pump is not None:
            self._pump.end("gone")

    def writable(self) -> None:
        """See `Taker`."""
        if self._pump is not None:
            self._pump.writable_again()

    def _begin(self, connection: StreamConnection) -> None:
        self._connection = connection
        self._pump = pump = Pump(
            connection,
            self._view,
            self._cursor,
            heartbeat=self._heartbeat,
            send_timeout=self._send_timeout,
            alarms=self._viewers.alarms,
            shorten=self._viewers.shorten(connection, self._view),
        )
        connection.hand_over(self)
        self._viewers.add(self)
        if not connection.open:
            pump.end("gone")
        try:
            pump.write(self._view.opening())
            self._go_on(pump)
        except Exception:
            self._fault()

    def _go_on(self, pump: Pump) -> None:
        if pump.over is not None:
            self._conclude(pump, pump.over)
        elif self._watch is None:
            self._spawn(self._look_for_job(pump))
        else:
            if pump.delivery is None:
                pump.delivery = self._viewers.delivery(self._watch, pump.cursor)
            pump.follow(self._watch.window, self._stopped)

    def _stopped(self, why: str) -> None:
        """The pump cannot go on from the window; perhaps the stream has ended already."""
        pump, watch = self._pump, self._watch
        if pump is None or watch is None:
            return
        try:
            if why == "behind":
                self._spawn(self._catch_up(watch, pump))
            elif why == "moved":
                self._close_watch()
                self._go_on(pump)
            else:
                if why == "failed" and watch.window.failure is not None:
                    pump.write(self._view.failure(watch.window.failure))
                self._conclude(pump, why)
        except Exception:
            self._fault()

    def _conclude(self, pump: Pump, why: str) -> None:
        """Nothing more will come of the log: says so where that is due, and ends."""
        if why in _LOST and not self._resumable:
            pump.write(self._view.failure(self._lost(pump.cursor)))
        if self._connection is not None and self._connection.full and pump.over in _HERE:
            self._spawn(self._last_words(self._connection, pump, why))
        else:
            self._end(pump.over or why)

    def _end(self, why: str) -> None:
        """The stream is over, once."""
        self._close_watch()
        connection, pump = self._connection, self._pump
        if connection is None or pump is None:
            return
        self._viewers.remove(self)
        self._connection = self._pump = None
        pump.end("gone")
        if why == "send_timeout":
            connection.abort()
        elif why != "gone":
            connection.finish()
        connection.taker = None
        self._viewers.closed(why)

    def _spawn(self, step: Coroutine[Any, Any, None]) -> None:
        self._viewers.spawn(self._run(step))

    async def _run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Exception:
            self._fault()

    def _fault(self) -> None:
        _LOG.exception("%s: a stream of it cannot go on", self._job_id)
        self.cut()

    async def _last_words(self, connection: StreamConnection, pump: Pump, why: str) -> None:
        """A slow client takes the end of its stream at its own pace."""
        await pump.writable()
        if pump.over == "drained":
            try:
                async with asyncio.timeout(self._send_timeout):
                    await connection.room()
            except TimeoutError:
                self._end("send_timeout")
                return
        self._end(pump.over or why)

    async def _catch_up(self, watch: Watch, pump: Pump) -> None:
        """Reads the log at the client's pace until its place is in the window again."""
        while pump.over is None and pump.cursor + 1 < watch.window.first:
            try:
                # Not kept in a variable: it would live as long as a slow client waits.
                pump.give(await watch.read(pump.cursor, FRAME_BYTES))
            except LogUnavailable:
                self._close_watch()
                break
            except LogExpired:
                self._conclude(pump, "expired")
                return
            await pump.writable()
        self._go_on(pump)

    async def _look_for_job(self, pump: Pump) -> None:
        """Finds the job where it is now; the pump keeps the client alive meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOG_PATIENCE_S
        while pump.over is None:
            try:
                self._watch = await self._find(pump.cursor)
            except ProblemError:
                self._conclude(pump, "lost")
                return
            except LogUnavailable:
                if loop.time() > deadline:
                    self._conclude(pump, "log_away")
                    return
                await asyncio.sleep(_LOG_RETRY_S)
            else:
                break
        self._go_on(pump)

    def _lost(self, cursor: int) -> Event:
        """What a client is told that cannot come back, when its job's log cannot be read."""
        return EventEncoder(self._job_id).other(
            cursor + 1,
            "job_error",
            {
                "code": "log_unavailable",
                "message": "the event log of this job cannot be read",
                "retryable": True,
                "usage": None,
            },
        )

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def _send(
        self, connection: StreamConnection, send: Send, message: dict[str, Any]
    ) -> None:
        """Sends by way of ASGI, which waits for nothing but a connection that is full."""
        if not connection.full:
            await send(message)
            return
        async with asyncio.timeout(self._send_timeout):
            await send(message)


def stream_headers(node: str, job_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of every event stream (CONTRACT, "Events")."""
    return [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-okome-node", node.encode()),
        (b"x-okome-job-id", job_id.encode()),
    ]
