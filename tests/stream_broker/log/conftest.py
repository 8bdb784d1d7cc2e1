"""Both forms of the log, behind one fixture; Redis is a real one, shared by the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from inventory.load import LOCAL, load_cluster
from stream_broker.log.keys import KeySpace
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.store import connect
from tests.stream_broker.building import Clock
from tests.support.redis_server import RedisServer, reason_to_skip

LIFETIMES: dict[str, Any] = {"log_ttl": 900, "record_ttl": 86_400, "claim_ttl": 86_400}
KEYS = KeySpace(load_cluster(LOCAL))


@dataclass
class Subject:
    """A log and what its test may do to it."""

    log: MemoryLog | RedisLog
    clock: Clock
    redis: Any | None = None


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
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
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
def redis_log(redis: Any) -> RedisLog:
    """The log in Redis."""
    return RedisLog(redis, KEYS, lease=3.0, **LIFETIMES)


@pytest.fixture(params=["memory", "redis"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """One log after the other."""
    clock = Clock()
    if request.param == "redis":
        return Subject(
            request.getfixturevalue("redis_log"), clock, request.getfixturevalue("redis")
        )
    return Subject(MemoryLog(clock, max_bytes=1 << 20, **LIFETIMES), clock)


@pytest.fixture
def log(subject: Subject) -> MemoryLog | RedisLog:
    """The log by itself."""
    return subject.log
