"""What the broker's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stream_broker.live import LiveJob
from stream_broker.log.redis import RedisLog
from stream_broker.log.store import connect
from stream_broker.log.stores import OneStore
from tests.stream_broker.building import KEYS, LIFETIMES
from tests.stream_broker.parts import Parts, running
from tests.support.redis_server import RedisServer, reason_to_skip


@dataclass
class Timer:
    """A timer of a job that only the test lets end."""

    seconds: float
    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Timers:
    """All timers of all jobs, in the order in which they were set."""

    timers: list[Timer] = field(default_factory=list)

    def of(self, seconds: float) -> list[Timer]:
        """Those that are still to end, set for so many seconds."""
        return [t for t in self.timers if not t.cancelled and t.seconds == seconds]

    async def fire(self, seconds: float) -> None:
        """Lets one end, which there must be, and what it starts take its course."""
        (timer,) = self.of(seconds)
        timer.cancelled = True
        timer.action()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    """Puts the time of jobs' timers into the test's hands."""
    timers = Timers()

    def after(_: LiveJob, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(seconds, action)
        timers.timers.append(timer)
        return timer

    monkeypatch.setattr(LiveJob, "after", after)
    return timers


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Parts with a small window for the relay's unwritten events."""
    async with running(tmp_path, relay_buffer=4096, max_pause=30.0) as parts:
        yield parts


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests that leave it as it was."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that one test may kill, hang and fill; not started yet."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly=True)
    yield server
    server.kill()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Any]:
    """A client of the shared Redis, which is empty."""
    client = connect(redis_server.host, redis_server.port, timeout=5.0)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def stores(redis: Any, redis_server: RedisServer) -> AsyncIterator[OneStore]:
    """The shared Redis as the log's only store."""
    stores = OneStore(redis_server.address, timeout=5.0)
    yield stores
    await stores.aclose()


@pytest.fixture
def redis_log(stores: OneStore) -> Iterator[RedisLog]:
    """The log in Redis."""
    log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
    yield log
    log.close()
