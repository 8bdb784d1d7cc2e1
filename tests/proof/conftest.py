"""The broker tests' Redis serves here too; a Redis Cluster is this proof's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stream_broker.conftest import redis_server
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import reason_to_skip

__all__ = ["redis_server"]


@pytest.fixture(scope="module")
def cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """Twelve processes, for a test that leaves them as they were."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    servers = ClusterServers(tmp_path_factory.mktemp("cluster"))
    servers.start()
    yield servers
    servers.stop()
