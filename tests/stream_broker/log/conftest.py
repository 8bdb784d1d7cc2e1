"""Both forms of the log, behind one fixture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from tests.stream_broker.building import LIFETIMES, Clock
from tests.support.redis_server import RedisServer, reason_to_skip


@dataclass
class Subject:
    """A log and what its test may do to it."""

    log: MemoryLog | RedisLog
    clock: Clock
    redis: Any | None = None


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that one test may kill, hang and fill; not started yet."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly=True)
    yield server
    server.kill()


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
