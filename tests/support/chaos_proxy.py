"""A TCP way to a server that a test makes as bad as it likes, without touching the server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

Mode = Literal["open", "stalled", "deaf", "cut"]
_CHUNK = 1 << 16


class ChaosProxy:
    """Carries bytes to `host:port` and back, as `mode` has it.

    open      both ways, at once
    stalled   connections stand, nothing moves; what waits is carried later
    deaf      requests arrive, replies are lost: nobody knows what was done
    cut       connections are reset, new ones refused

    Use by `async with`; it listens on `host`, `port` of its own.
    """

    def __init__(self, host: str, port: int) -> None:
        self.mode: Mode = "open"
        self.host = "127.0.0.1"
        self.port = 0
        self._upstream = (host, port)
        self._moves = asyncio.Event()
        self._moves.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ChaosProxy:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self, mode: Mode) -> None:
        """Changes what happens from now on."""
        if mode == "cut" or (self.mode == "deaf" and mode != "deaf"):
            # A stream of replies with a hole in it is none any more.
            self._reset()
        self.mode = mode
        if mode == "stalled":
            self._moves.clear()
        else:
            self._moves.set()

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "cut":
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._upstream)
            self._writers.add(back)
            try:
                await self._both(self._requests(reader, back), self._replies(there, writer))
            finally:
                back.transport.abort()
                self._writers.discard(back)
        except OSError:
            pass  # The server is away: so is the way to it.
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _both(self, *ways: Coroutine[Any, Any, None]) -> None:
        """Carries both ways until one has ended."""
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._moves.wait()
            writer.write(data)
            await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._moves.wait()
            if self.mode != "deaf":
                writer.write(data)
                await writer.drain()
