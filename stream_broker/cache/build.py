"""The hot cache of one broker, as its inventory and settings have it."""

from __future__ import annotations

import time

from stream_broker.cache.base import SharedCache
from stream_broker.cache.hot import HotCache
from stream_broker.cache.redis import RedisCache
from stream_broker.metrics import BrokerMetrics
from stream_broker.options import Options


def build_cache(options: Options, metrics: BrokerMetrics) -> HotCache:
    """This process's memory, and the Redis of the role `cache` where the inventory has one:
    never the log's, which must not evict, nor wait for anything."""
    settings = options.settings
    shared: SharedCache | None = None
    for node in options.cluster.role("cache")[:1]:
        shared = RedisCache(
            (node.address, node.port),
            options.cache_password,
            ttl=settings.cache_ttl,
            timeout=settings.cache_timeout,
            monotonic=time.monotonic,
        )
    return HotCache(settings.cache_bytes, settings.cache_ttl, shared, metrics)
