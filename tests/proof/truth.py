"""The store of the log itself, past every broker and every fault on the way to it."""

from __future__ import annotations

import time
from typing import Any

import redis

from inventory.model import Cluster
from stream_broker.log.keys import Keys, KeySpace

Entry = tuple[str, bytes]


class Truth:
    """One Redis, asked directly and synchronously."""

    def __init__(self, client: Any, cluster: Cluster) -> None:
        self._redis = client
        self._space = KeySpace(cluster)

    def keys(self, job_id: str) -> Keys:
        """The keys of a job."""
        keys = self._space.of_job(job_id)
        assert keys is not None
        return keys

    def events(self, job_id: str) -> dict[int, Entry]:
        """The job's log as it stands: numbers to names and data."""
        entries = self._redis.xrange(self.keys(job_id).log(job_id))
        return {int(i.split(b"-")[0]): (f[b"n"].decode(), f[b"d"]) for i, f in entries}

    def epoch(self, job_id: str) -> int:
        """Which relay may write; 0 when there is no record."""
        return int(self._redis.hget(self.keys(job_id).job(job_id), "epoch") or 0)

    def ended(self, job_id: str) -> bool:
        """Does the record say how the job ended?"""
        return bool(self._redis.hexists(self.keys(job_id).job(job_id), "end_name"))

    def lapse(self, job_id: str) -> None:
        """The relay's lease has ended a little longer ago than anybody waits for it."""
        ended = int(1000 * (time.time() - 2))
        self._redis.zadd(self.keys(job_id).relays, {job_id: ended}, xx=True)

    def expire(self, job_id: str) -> None:
        """The log's time has come; the record stays."""
        self._redis.delete(self.keys(job_id).log(job_id))

    def come_back_empty(self) -> None:
        """What a store without a file does when it is killed: all is gone, all are cut off."""
        self._redis.flushall()
        self._redis.script_flush()
        self._redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def close(self) -> None:
        """Ends the connection."""
        self._redis.close()


def truth_of(host: str, port: int, cluster: Cluster) -> Truth:
    """The truth at an address; empty to begin with."""
    client = redis.Redis(host=host, port=port)
    client.flushall()
    return Truth(client, cluster)
