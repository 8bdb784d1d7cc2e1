"""The store of the log itself, past every broker and every fault on the way to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis

from inventory.model import Cluster
from stream_broker.log.keys import Keys, KeySpace
from tests.support.redis_cluster import ClusterServers

Entry = tuple[str, bytes]


class Truth:
    """Stores that are asked directly and synchronously: `clients` by node of the job's home."""

    def __init__(self, clients: Mapping[str, Any], cluster: Cluster) -> None:
        self._clients = clients
        self._space = KeySpace(cluster)

    def client(self, job_id: str) -> Any:
        """The store that has the job."""
        return self._clients[f"okome-node-{job_id[1:3]}"]

    def keys(self, job_id: str) -> Keys:
        """The keys of a job."""
        keys = self._space.of_job(job_id)
        assert keys is not None
        return keys

    def events(self, job_id: str) -> dict[int, Entry]:
        """The job's log as it stands: numbers to names and data."""
        entries = self.client(job_id).xrange(self.keys(job_id).log(job_id))
        return {int(i.split(b"-")[0]): (f[b"n"].decode(), f[b"d"]) for i, f in entries}

    def epoch(self, job_id: str) -> int:
        """Which relay may write; 0 when there is no record."""
        return int(self.client(job_id).hget(self.keys(job_id).job(job_id), "epoch") or 0)

    def leased(self, job_id: str) -> bool:
        """Is there a relay whose lease has to end before another may take over?"""
        until = self.client(job_id).zscore(self.keys(job_id).relays, job_id)
        return until is not None and until > 1000 * time.time()

    def ended(self, job_id: str) -> bool:
        """Does the record say how the job ended?"""
        return bool(self.client(job_id).hexists(self.keys(job_id).job(job_id), "end_name"))

    def lapse(self, job_id: str) -> None:
        """The relay's lease has ended a little longer ago than anybody waits for it."""
        ended = int(1000 * (time.time() - 2))
        self.client(job_id).zadd(self.keys(job_id).relays, {job_id: ended}, xx=True)

    def expire(self, job_id: str) -> None:
        """The log's time has come; the record stays."""
        self.client(job_id).delete(self.keys(job_id).log(job_id))

    def come_back_empty(self) -> None:
        """What a store without a file does when it is killed: all is gone, all are cut off."""
        for client in set(self._clients.values()):
            client.flushall()
            client.script_flush()
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def close(self) -> None:
        """Ends the connection."""
        for client in set(self._clients.values()):
            client.close()


def truth_of(host: str, port: int, cluster: Cluster) -> Truth:
    """The truth of one Redis for all homes; empty to begin with."""
    client = redis.Redis(host=host, port=port)
    client.flushall()
    return Truth({node.name: client for node in cluster.role("stream")}, cluster)


def truth_of_cluster(servers: ClusterServers) -> Truth:
    """The truth of a Redis Cluster whose homes are where they belong; empty to begin with."""
    clients = {}
    for node in servers.cluster.role("stream"):
        home = servers.home(node.name)
        clients[node.name] = client = redis.Redis(host=home.address, port=home.port)
        client.flushall()
    return Truth(clients, servers.cluster)
