"""What the cases are run against: brokers over memory, over Redis, and a whole cluster."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn

from contracts.grants import EngineTarget
from stream_broker.connection import SocketConnection, StreamConnection
from stream_broker.engines.client import EngineClient
from tests.proof.truth import Truth, truth_of
from tests.proof.twin import Twin, cluster_at, cluster_without_log
from tests.stream_broker.building import API_KEY, grant
from tests.support.redis_server import RedisServer
from tests.support.synthetic_engine import Server

_RATE = 1000.0


@dataclass(frozen=True)
class Target:
    """`urls`: where to ask; jobs are made at the first one, and read at all of them.

    `expire` ends the life of a job's log; its record stays.
    """

    urls: tuple[str, ...]
    key: str
    model: str
    expire: Callable[[str], None]


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run


@asynccontextmanager
async def served(twin: Twin) -> AsyncIterator[str]:
    """The broker behind its real server, on a port of loopback. Yields its URL."""
    config = uvicorn.Config(
        twin.broker.app,
        http=StreamConnection,
        ws=SocketConnection,
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Uvicorn(config)
    sock = socket.create_server(("127.0.0.1", 0))
    await twin.start()
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await twin.stop()
        sock.close()


@asynccontextmanager
async def engine() -> AsyncIterator[EngineTarget]:
    """A scripted engine on this loop."""
    server = await asyncio.start_server(Server(_RATE).serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield EngineTarget(kind="vllm", base_url=f"http://127.0.0.1:{port}", model="small")
    finally:
        server.close()


def _answering(twin: Twin, target: EngineTarget) -> Twin:
    """The broker with real connections to an engine."""
    client = EngineClient(5.0, 60.0, 1 << 20)
    twin.broker.engines = twin.broker.runner._engines = client
    twin.control.answer = msgspec.structs.replace(grant(max_tokens=1000), engine=target)
    return twin


@asynccontextmanager
async def in_memory() -> AsyncIterator[Target]:
    """One broker, durability `none`."""
    with tempfile.TemporaryDirectory() as directory:
        twin = Twin("okome-node-03", cluster_without_log(), Path(directory), None)
        async with engine() as target, served(_answering(twin, target)) as url:
            yield Target((url,), API_KEY, "small", twin.expire)


@asynccontextmanager
async def in_redis(server: RedisServer) -> AsyncIterator[Target]:
    """Two brokers over one Redis, durability `local`."""
    cluster = cluster_at(server.host, server.port)
    truth: Truth = truth_of(server.host, server.port, cluster)
    with tempfile.TemporaryDirectory() as directory:
        home = Twin("okome-node-03", cluster, Path(directory) / "03", None)
        other = Twin("okome-node-04", cluster, Path(directory) / "04", None)
        async with (
            engine() as target,
            served(_answering(home, target)) as first,
            served(_answering(other, target)) as second,
        ):
            yield Target((first, second), API_KEY, "small", truth.expire)
    truth.close()
