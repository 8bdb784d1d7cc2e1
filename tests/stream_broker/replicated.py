"""The stores of a replicated log, as a broker keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory.model import Cluster
from stream_broker.log.stores import ClusterStores
from stream_broker.tasks import end


@asynccontextmanager
async def running_stores(cluster: Cluster, acks: int = 1) -> AsyncIterator[ClusterStores]:
    """They look for what has moved until the end."""
    addresses = tuple((store.address, store.port) for store in cluster.log_stores())
    stores = ClusterStores(addresses, cluster.log_tags(), acks=acks)
    task = asyncio.create_task(stores.run())
    try:
        yield stores
        assert not task.done(), "the stores must never stop looking by themselves"
    finally:
        await end([task])
        await stores.aclose()
