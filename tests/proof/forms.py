"""The forms of the log that the proof is run over."""

from __future__ import annotations

import redis

from stream_broker.log.keys import Keys
from tests.proof.truth import Entry, truth_of, truth_of_cluster
from tests.proof.twin import Twin, cluster_at, cluster_without_log
from tests.proof.world import NODES, World
from tests.support.chaos_proxy import ChaosProxy
from tests.support.redis_cluster import ClusterServers
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


class Replicated(World):
    """Brokers over a Redis Cluster whose replicas may stall: durability `replicated`."""

    def __init__(self, servers: ClusterServers) -> None:
        super().__init__()
        self._servers = servers
        self._stalled: set[str] = set()
        self.truth = truth_of_cluster(servers)

    async def make_twin(self, number: int) -> Twin:
        """See World."""
        return Twin(NODES[number], self._servers.cluster, self.directory / str(number), None)

    def stall_replicas(self, at: int, count: int) -> None:
        """Of a home's replicas so many stop answering, and the others go on."""
        for number, store in enumerate(self._servers.replicas(NODES[at % len(NODES)])):
            if number < count:
                self._stalled.add(store.name)
                self._servers.hang(store)
            else:
                self._stalled.discard(store.name)
                self._servers.go_on(store)

    def heal(self) -> None:
        """See World."""
        super().heal()
        for at in range(len(NODES)):
            self.stall_replicas(at, 0)

    def look(self) -> None:
        """Also: whatever was shown survives the loss of its primary."""
        super().look()
        for job_id, known in self.known.items():
            home = f"okome-node-{job_id[1:3]}"
            replicas = self._servers.replicas(home)
            if known.lost or known.expired or self._stalled & {s.name for s in replicas}:
                continue
            assert self.truth is not None
            keys = self.truth.keys(job_id)
            copies = [self._copy(store.address, store.port, keys, job_id) for store in replicas]
            assert any(known.events.items() <= copy.items() for copy in copies), (
                f"shown, and on no replica: {known.last} of {[max(c, default=0) for c in copies]}"
            )

    def _copy(self, host: str, port: int, keys: Keys, job_id: str) -> dict[int, Entry]:
        with redis.Redis(host=host, port=port) as client:
            client.execute_command("READONLY")
            entries = client.xrange(keys.log(job_id))
        return {int(i.split(b"-")[0]): (f[b"n"].decode(), f[b"d"]) for i, f in entries}
