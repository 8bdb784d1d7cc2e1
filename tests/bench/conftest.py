"""The synthetic engine, in the loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from bench.engine import Connection, Engine


@pytest.fixture
async def engine() -> AsyncIterator[tuple[str, int]]:
    """Where it answers."""
    loop = asyncio.get_running_loop()
    engine = Engine()
    connections: list[Connection] = []

    def connection() -> Connection:
        connections.append(Connection(engine))
        return connections[-1]

    server = await loop.create_server(connection, "127.0.0.1", 0)
    ticking = loop.create_task(engine.run())
    yield server.sockets[0].getsockname()
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    server.close()
    for each in connections:
        each.close()
    await asyncio.sleep(0)  # a transport closes its socket in the next turn
