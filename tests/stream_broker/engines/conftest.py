"""Tests of the client run on both loops; those that generate on a real engine, which cost
seconds, on uvloop alone: it is the one in service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from stream_broker.engines.client import EngineClient
from tests.support.real_engine import RealEngine, reason_to_skip

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, LoopFactory]:
    loops: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop}
    if "engine" not in getattr(item, "fixturenames", ()):
        loops["asyncio"] = asyncio.new_event_loop
    return loops


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    """A client whose timeouts no test reaches by itself."""
    client = EngineClient(connect_timeout=5.0, idle_timeout=60.0, line_max=1 << 20)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def engine() -> Iterator[RealEngine]:
    """llama.cpp's server with a small model, for the whole session."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with RealEngine() as engine:
        yield engine
