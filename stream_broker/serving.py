"""Serves one viewer over HTTP: one writer, whole blocks, a keep-alive in silence.

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
from stream_broker.directory import Watch
from stream_broker.events import Event, EventEncoder
from stream_broker.feed import Feed, LogExpired
from stream_broker.log.base import LogUnavailable
from stream_broker.viewers import Viewers
from stream_broker.views.base import View

KEEP_ALIVE = b": keep-alive\n"
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
        self._gone = False
        self._drained = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until one of the ends above."""
        if scope["method"] == "HEAD":
            self._close_watch()
            await send(self._start())
            await send({"type": "http.response.body"})
            return
        leaving = asyncio.get_running_loop().create_task(self._until_gone(receive))
        self._viewers.add(self)
        try:
            reason = await self._serve(send)
        except TimeoutError:
            reason = "send_timeout"
            abort(scope)
        finally:
            leaving.cancel()
            self._viewers.remove(self)
            self._close_watch()
        self._viewers.closed(reason)

    def drain(self) -> None:
        """Ends the stream between blocks, if its client can come back by itself."""
        if self._resumable:
            self._drained = True
            self._close_watch()

    async def _serve(self, send: Send) -> str:
        await self._send(send, self._start())
        await self._body(send, self._view.opening())
        reason = None
        while reason is None:
            if self._watch is None or self._watch.window.moved:
                reason = await self._look_for_job(send)
            else:
                reason = await self._serve_next(send, self._watch)
        if reason in _LOST and not self._resumable:
            await self._body(send, self._view.failure(self._lost()))
        if reason != "gone":
            await self._send(send, {"type": "http.response.body", "body": b""})
        return reason

    async def _serve_next(self, send: Send, watch: Watch) -> str | None:
        """Writes what comes next. Returns why the stream ends, or None to go on."""
        feed = watch.feed
        try:
            events = await feed.next(self._heartbeat)
        except LogUnavailable:
            self._close_watch()
            self._watch = None
            return None
        except LogExpired:
            return "expired"
        if events:
            await self._body(send, self._view.blocks(events))
            self._cursor = feed.cursor
        if feed.failure is not None:
            await self._body(send, self._view.failure(feed.failure))
        elif not events and not (feed.ended or feed.closed or watch.window.moved):
            await self._body(send, KEEP_ALIVE)
        return self._end_reason(feed)

    def _end_reason(self, feed: Feed) -> str | None:
        if self._gone:
            return "gone"
        if self._drained:
            return "drained"
        return "ended" if feed.ended else None

    async def _look_for_job(self, send: Send) -> str | None:
        """Finds the job where it is now; keeps the client alive while the log is away."""
        self._close_watch()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOG_PATIENCE_S
        quiet_until = loop.time() + self._heartbeat
        while not (self._gone or self._drained):
            try:
                self._watch = await self._find(self._cursor)
            except ProblemError:
                return "lost"
            except LogUnavailable:
                if loop.time() > deadline:
                    return "log_away"
                if loop.time() > quiet_until:
                    await self._body(send, KEEP_ALIVE)
                    quiet_until = loop.time() + self._heartbeat
                await asyncio.sleep(_LOG_RETRY_S)
            else:
                if self._gone or self._drained:
                    self._close_watch()
                return None
        return "gone" if self._gone else "drained"

    def _lost(self) -> Event:
        """What a client is told that cannot come back, when its job's log cannot be read."""
        return EventEncoder(self._job_id).other(
            self._cursor + 1,
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

    def _start(self) -> dict[str, Any]:
        headers = stream_headers(self._node, self._job_id)
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _body(self, send: Send, body: bytes) -> None:
        if body:
            await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._send_timeout):
            await send(message)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._close_watch()


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


def abort(scope: Scope) -> None:
    """Drops the connection with whatever is still queued for it."""
    scope["extensions"]["okome.abort"]()
