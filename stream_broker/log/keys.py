"""Names of the log's keys in Redis.

All keys of one worker's jobs carry that worker's hash tag, so they share a slot that
the worker's own node serves; the tag follows from the job id alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from inventory.model import Cluster
from stream_broker.ids import Home, home_of


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under one hash tag."""

    tag: str

    def job(self, job_id: str) -> str:
        """Hash: a job's record."""
        return f"okome:{{{self.tag}}}:job:{job_id}"

    def log(self, job_id: str) -> str:
        """Stream: a job's events, entry `SEQ-0` for event SEQ."""
        return f"okome:{{{self.tag}}}:log:{job_id}"

    def seen(self, job_id: str) -> str:
        """String that lives for the grace after a broker other than the relay's had viewers."""
        return f"okome:{{{self.tag}}}:seen:{job_id}"

    @property
    def relays(self) -> str:
        """Sorted set: running jobs by the time their relay's lease ends, in milliseconds."""
        return f"okome:{{{self.tag}}}:relays"

    @property
    def control(self) -> str:
        """Stream: cancellations for whoever relays jobs of this tag."""
        return f"okome:{{{self.tag}}}:control"

    @property
    def touched(self) -> str:
        """String: written before WAIT by who has only read, so that WAIT covers what was read."""
        return f"okome:{{{self.tag}}}:touched"

    def wake(self, process: str) -> str:
        """Stream that interrupts this process's blocking read."""
        return f"okome:{{{self.tag}}}:wake:{process}"

    def claim(self, key: str) -> str:
        """String: an Idempotency-Key's claim."""
        return f"okome:{{{self.tag}}}:claim:{key}"

    def conversation(self, key: str) -> str:
        """String: the last messages of a `/chat` conversation."""
        return f"okome:{{{self.tag}}}:conversation:{key}"


class KeySpace:
    """Which keys belong to a job or a claim, by the inventory's table of hash tags."""

    def __init__(self, cluster: Cluster) -> None:
        self.tags = cluster.log_tags()
        self._of_home = {
            str(Home(node.number, worker)): Keys(tag)
            for node in cluster.brokers()
            for worker, tag in enumerate(node.log_tags)
        }

    def of_job(self, job_id: str) -> Keys | None:
        """Keys of a job's home, or None when the id names none in this cluster."""
        keys = self._of_home.get(job_id.partition("-")[0])
        return keys if keys is not None and home_of(job_id) is not None else None

    def of_claim(self, key: str) -> Keys:
        """Claims spread over all tags, the same way on every broker."""
        return Keys(self.tags[zlib.crc32(key.encode()) % len(self.tags)])
