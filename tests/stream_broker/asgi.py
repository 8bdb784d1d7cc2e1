"""One HTTP request to an ASGI application, with both of its ends in the test's hands."""

from __future__ import annotations

import asyncio
from typing import Any

from stream_broker.connection import EXTENSION, Taker


class Connection:
    """Stands in for the client's connection: what was written, and how full it is."""

    def __init__(self) -> None:
        self._taker: Taker | None = None
        self.full = False
        self.open = True
        self.frames: list[bytes] = []
        self.aborted = False
        self.more = asyncio.Event()
        self.waiting = 0
        self.fills_at: int | None = None
        self.finished = False
        self.free = asyncio.Event()
        self.free.set()
        self._room = asyncio.Event()

    @property
    def taker(self) -> Taker | None:
        """Who writes, as long as anybody does."""
        return self._taker

    @taker.setter
    def taker(self, taker: Taker | None) -> None:
        self._taker = taker
        if taker is None:
            self.free.set()
        else:
            self.free.clear()

    def hand_over(self, taker: Taker) -> None:
        self.taker = taker

    def finish(self) -> None:
        self.finished = True

    def cut(self) -> None:
        self.open = False

    async def room(self) -> None:
        if self.full:
            await self._room.wait()

    def write_frame(self, body: bytes) -> None:
        assert body
        self.frames.append(body)
        self.more.set()
        if self.fills_at is not None and len(self.frames) >= self.fills_at:
            self.full = True

    def unsent(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def fill(self) -> None:
        """The client takes nothing more."""
        self.full = True

    def take(self) -> None:
        """The client has taken all of it."""
        self.full = False
        self._room.set()
        if self.taker is not None:
            self.taker.writable()

    def leave(self) -> None:
        """The connection is closed."""
        self.open = False
        self._room.set()
        if self.taker is not None:
            self.taker.gone()


class Exchange:
    """What was sent, and a client that may stop taking, or leave."""

    def __init__(self, app: Any, **scope: Any) -> None:
        self.connection = Connection()
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "extensions": {EXTENSION: self.connection},
        } | scope
        self.sent: list[dict[str, Any]] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self._left = asyncio.Event()
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        self.sent.append(message)
        if message.get("body"):
            self.connection.frames.append(message["body"])
        self.connection.more.set()

    @property
    def aborted(self) -> bool:
        """Has the application dropped the connection?"""
        return self.connection.aborted

    def leave(self) -> None:
        """The client closes its connection."""
        self._left.set()
        self.connection.leave()

    @property
    def body(self) -> bytes:
        """All bytes of the body so far."""
        return b"".join(self.connection.frames)

    @property
    def clean(self) -> bool:
        """Has the body an end?"""
        if self.connection.finished:
            return True
        last = self.sent[-1]
        return last["type"] == "http.response.body" and not last.get("more_body")

    async def until(self, what: bytes) -> None:
        """Waits until the body holds `what`."""
        async with asyncio.timeout(5):
            while what not in self.body:
                self.connection.more.clear()
                await self.connection.more.wait()

    @property
    def over(self) -> bool:
        """Has the application returned, and nobody goes on with the answer?"""
        return self.task.done() and self.connection.free.is_set()

    async def ended(self) -> None:
        """Waits until it is over."""
        async with asyncio.timeout(5):
            await self.task
            await self.connection.free.wait()
