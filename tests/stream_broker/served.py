"""A real uvicorn with the broker's connections, whose answers a test writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import uvicorn

from stream_broker.connection import EXTENSION, SocketConnection, StreamConnection
from tests.support.eventually import eventually_async


class Taker:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.writables = 0
        self.left = False

    def writable(self) -> None:
        self.writables += 1

    def gone(self) -> None:
        self.left = True


class Server(uvicorn.Server):
    """Begins an answer to each client and leaves it to the test."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        config = uvicorn.Config(
            self._app,
            host=host,
            port=0,
            http=StreamConnection,
            ws=SocketConnection,
            ws_per_message_deflate=False,
            log_config=None,
            interface="asgi3",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.sock = config.bind_socket()
        self.address = self.sock.getsockname()
        self.taker = Taker()
        self.over = asyncio.Event()
        self._connection: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
        else:
            await receive()
            await send({"type": "websocket.accept"})
        connection = scope["extensions"][EXTENSION]
        connection.taker = self.taker
        self._connection.set_result(connection)
        await self.over.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run

    async def connection(self) -> Any:
        async with asyncio.timeout(5):
            return await self._connection


S = TypeVar("S", bound=Server)


@contextlib.asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    kind: type[S] = Server,  # type: ignore[assignment]
) -> AsyncIterator[S]:
    """A running server."""
    server = kind(host)
    running = asyncio.create_task(server.serve(sockets=[server.sock]))
    await eventually_async(lambda: server.started)
    try:
        yield server
    finally:
        server.over.set()
        server.should_exit = True
        await running
        server.sock.close()
