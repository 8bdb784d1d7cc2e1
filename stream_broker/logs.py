"""The logs of one broker, and who writes to them, as its inventory and settings have it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from stream_broker.log.direct import DirectWriter
from stream_broker.log.keys import KeySpace
from stream_broker.log.lanes import LaneWriters
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import Stores, stores_of
from stream_broker.log.writer import Writer
from stream_broker.metrics import BrokerMetrics
from stream_broker.options import Options


@dataclass(frozen=True, slots=True)
class Logs:
    """`writers` by durability. Without a shared log `stores`, `redis` and `writer` are None."""

    memory: MemoryLog
    writers: dict[str, Writer]
    stores: Stores | None = None
    redis: RedisLog | None = None
    writer: LaneWriters | None = None


def build_logs(options: Options, keys: KeySpace, metrics: BrokerMetrics) -> Logs:
    """The log in memory, and the shared one where there is one."""
    settings = options.settings
    lifetimes: dict[str, Any] = {
        "log_ttl": settings.log_ttl,
        "record_ttl": settings.record_ttl,
        # A key that outlived its job's record would make the job again under its id.
        "claim_ttl": min(settings.idempotency_ttl, settings.record_ttl),
    }
    memory = MemoryLog(time.time, max_bytes=settings.memory_log_max, **lifetimes)
    writers: dict[str, Writer] = {"none": DirectWriter(memory)}
    stores = stores_of(options.cluster, settings.log_acks, options.redis_password)
    if stores is None:
        return Logs(memory, writers)
    redis = RedisLog(stores, keys, lease=settings.relay_ttl, **lifetimes)
    writer = LaneWriters(redis, time.monotonic, told=metrics.log_flushed, shown=metrics.log_shown)
    writers[stores.durability] = writer
    return Logs(memory, writers, stores, redis, writer)
