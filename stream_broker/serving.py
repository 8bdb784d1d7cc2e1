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
from collections.abc import Awaitable, Callable
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

# How long a viewer is kept waiting for a log that cannot be read just now (seconds).
LOG_PATIENCE_S = 10.0
_LOG_RETRY_S = 0.2

# Ends of a stream without the end of its job, other than its client's or a drain.
_LOST = ("expired", "lost", "log_away")

Find = Callable[[int], Awaitable[Watch]]


class EventStream:
    """An ASGI response that streams a job in one view.

    `find(cursor)` opens a watch of the job: `watch` is one that is open already, or
    None when the log could not be read just now. `resumable` streams are ended by a
    drain. The watch is closed when the stream ends.
    """

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
        self._pump: Pump | None = None

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Streams until one of the ends above."""
        connection: StreamConnection = scope["extensions"][EXTENSION]
        try:
            await self._send(connection, send, self._start())
            if scope["method"] == "HEAD":
                await self._send(connection, send, {"type": "http.response.body"})
                return
            self._viewers.closed(await self._stream(connection, send))
        except TimeoutError:
            connection.abort()
            self._viewers.closed("send_timeout")
        finally:
            self._close_watch()

    def drain(self) -> None:
        """Ends the stream between blocks, if its client can come back by itself."""
        if self._resumable and self._pump is not None:
            self._pump.end("drained")

    def gone(self) -> None:
        """See `Taker`."""
        if self._pump is not None:
            self._pump.end("gone")

    def writable(self) -> None:
        """See `Taker`."""
        if self._pump is not None:
            self._pump.writable_again()

    async def _stream(self, connection: StreamConnection, send: Send) -> str:
        """Everything after the head. Returns why it ended."""
        self._pump = pump = Pump(
            connection,
            self._view,
            self._cursor,
            heartbeat=self._heartbeat,
            send_timeout=self._send_timeout,
        )
        connection.taker = self
        self._viewers.add(self)
        try:
            if not connection.open:
                pump.end("gone")
            reason = await self._serve(pump)
            # The last words of a slow client's stream: it may take them at its own pace.
            await pump.writable()
            reason = pump.over or reason
            if reason == "send_timeout":
                connection.abort()
            elif reason != "gone":
                await self._send(connection, send, {"type": "http.response.body", "body": b""})
            return reason
        finally:
            pump.end("gone")
            connection.taker = None
            self._viewers.remove(self)

    async def _serve(self, pump: Pump) -> str:
        pump.write(self._view.opening())
        reason = None
        while reason is None:
            if self._watch is None:
                reason = await self._look_for_job(pump)
            else:
                reason = await self._serve_from(self._watch, pump)
        if reason in _LOST and not self._resumable:
            pump.write(self._view.failure(self._lost(pump.cursor)))
        return reason

    async def _serve_from(self, watch: Watch, pump: Pump) -> str | None:
        """Serves as long as the watch lasts. Returns why the stream ends, None to go on."""
        reason = await pump.follow(watch.window)
        if reason == "behind":
            return await self._catch_up(watch, pump)
        if reason == "moved":
            self._close_watch()
            return None
        if reason == "failed" and watch.window.failure is not None:
            pump.write(self._view.failure(watch.window.failure))
        return reason

    async def _catch_up(self, watch: Watch, pump: Pump) -> str | None:
        """Reads the log at the client's pace until its place is in the window again."""
        while pump.over is None and pump.cursor + 1 < watch.window.first:
            try:
                # Not kept in a variable: it would live as long as a slow client waits.
                pump.give(await watch.read(pump.cursor, FRAME_BYTES))
            except LogUnavailable:
                self._close_watch()
                return None
            except LogExpired:
                return "expired"
            await pump.writable()
        return pump.over

    async def _look_for_job(self, pump: Pump) -> str | None:
        """Finds the job where it is now; the pump keeps the client alive meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOG_PATIENCE_S
        while pump.over is None:
            try:
                self._watch = await self._find(pump.cursor)
            except ProblemError:
                return "lost"
            except LogUnavailable:
                if loop.time() > deadline:
                    return "log_away"
                await asyncio.sleep(_LOG_RETRY_S)
            else:
                break
        return pump.over

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

    def _start(self) -> dict[str, Any]:
        headers = stream_headers(self._node, self._job_id)
        return {"type": "http.response.start", "status": 200, "headers": headers}

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
