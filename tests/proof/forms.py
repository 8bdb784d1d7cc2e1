"""The forms of the log that the proof is run over."""

from __future__ import annotations

from tests.proof.truth import truth_of
from tests.proof.twin import Twin, cluster_at, cluster_without_log
from tests.proof.world import NODES, World
from tests.support.chaos_proxy import ChaosProxy
from tests.support.redis_server import RedisServer


class Alone(World):
    """One broker, its log in its memory: durability `none`."""

    async def make_twin(self, number: int) -> Twin:
        """See World."""
        return Twin(NODES[number], cluster_without_log(), self.directory / str(number), None)


class Shared(World):
    """Brokers over one Redis, each by a way of its own: durability `local`."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._server = server
        cluster = cluster_at(server.host, server.port)
        self.truth = truth_of(server.host, server.port, cluster)

    async def make_twin(self, number: int) -> Twin:
        """See World."""
        proxy = await ChaosProxy(self._server.host, self._server.port).__aenter__()
        cluster = cluster_at(proxy.host, proxy.port)
        return Twin(NODES[number], cluster, self.directory / str(number), proxy)
