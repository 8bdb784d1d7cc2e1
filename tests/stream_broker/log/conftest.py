"""The three forms of the log, behind one fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import ClusterStores, Stores
from tests.stream_broker.building import KEYS, LIFETIMES, Clock
from tests.stream_broker.replicated import running_stores
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer, reason_to_skip


@dataclass
class Subject:
    """A log and what its test may do to it."""

    log: MemoryLog | RedisLog
    clock: Clock
    stores: Stores | None = None


@pytest.fixture(scope="session")
def cluster_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """A Redis Cluster of twelve processes for the whole run."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    servers = ClusterServers(tmp_path_factory.mktemp("cluster"))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def cluster_servers(cluster_session: ClusterServers) -> ClusterServers:
    """The cluster, empty."""
    cluster_session.flush()
    return cluster_session


@pytest.fixture
def wounded(cluster_servers: ClusterServers) -> Iterator[ClusterServers]:
    """The cluster for a test that does things to its processes."""
    yield cluster_servers
    cluster_servers.mend()


@pytest.fixture
async def cluster_stores(cluster_servers: ClusterServers) -> AsyncIterator[ClusterStores]:
    """The cluster as the log's stores."""
    async with running_stores(cluster_servers.cluster) as stores:
        yield stores


@pytest.fixture
def replicated_log(cluster_stores: ClusterStores) -> Iterator[RedisLog]:
    """The log in the cluster."""
    log = RedisLog(cluster_stores, KEYS, lease=3.0, **LIFETIMES)
    yield log
    log.close()


@pytest.fixture
def own_server(own_redis: RedisServer) -> RedisServer:
    """A Redis that one test may kill, hang and fill; not started yet."""
    return own_redis


@pytest.fixture(params=["none", "local", "replicated"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """One log after the other."""
    clock = Clock()
    fixture = request.getfixturevalue
    if request.param == "local":
        return Subject(fixture("redis_log"), clock, fixture("stores"))
    if request.param == "replicated":
        return Subject(fixture("replicated_log"), clock, fixture("cluster_stores"))
    return Subject(MemoryLog(clock, max_bytes=1 << 20, **LIFETIMES), clock)


@pytest.fixture
def log(subject: Subject) -> MemoryLog | RedisLog:
    """The log by itself."""
    return subject.log
