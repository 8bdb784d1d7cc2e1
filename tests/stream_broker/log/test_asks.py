"""A log's stores that are closed while somebody asks them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_broker.log.asks import Asks
from stream_broker.log.base import LogUnavailable
from stream_broker.log.stores import ClusterStores, OneStore
from tests.stream_broker.building import KEYS
from tests.support.eventually import eventually_async
from tests.support.redis_server import RedisServer

TAG = KEYS.tags[0]
WAIT_S = 0.5


def connected(client: Any) -> int:
    """How many connections its pool has open."""
    pool = client.connection_pool
    return sum(
        connection.is_connected
        for connection in (*pool._available_connections, *pool._in_use_connections)
    )


async def test_a_call_that_is_under_way_leaves_no_connection_behind(
    own_server: RedisServer,
) -> None:
    own_server.start()
    stores = OneStore(own_server.address)

    async def wait_long(client: Any) -> Any:
        asked.set()
        return await client.blpop("nothing", WAIT_S)

    asked = asyncio.Event()
    task = asyncio.create_task(stores.ask(TAG, wait_long))
    await asked.wait()
    await eventually_async(lambda: connected(stores.client) == 1)
    await stores.aclose()
    assert task.done()
    assert connected(stores.client) == 0
    with pytest.raises(LogUnavailable, match="closed here"):
        await stores.ask(TAG, wait_long)
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cluster_that_is_closed_is_not_looked_for(
    cluster_stores: ClusterStores,
) -> None:
    async def wait_long(client: Any) -> Any:
        return await client.blpop(f"okome:{{{TAG}}}:nothing", WAIT_S)

    await cluster_stores.ask(TAG, lambda client: client.ping())
    task = asyncio.create_task(cluster_stores.ask(TAG, wait_long))
    address = cluster_stores.topology.primary(TAG)
    assert address is not None
    home = cluster_stores._clients[address].connection_pool
    await eventually_async(lambda: bool(home._in_use_connections))
    await cluster_stores.aclose()
    assert task.done()
    assert [connected(client) for client in cluster_stores._clients.values()] == [0] * 12
    await asyncio.gather(task, return_exceptions=True)


class Client:
    """Whether its connection is open, and what has to end before it is closed."""

    def __init__(self) -> None:
        self.open = True
        self.closed = asyncio.Event()
        self.first: asyncio.Future[None] | None = None

    async def aclose(self) -> None:
        if self.first is not None:
            await self.first
        self.open = False
        self.closed.set()


async def test_a_call_that_ends_before_the_last_client_is_closed_leaves_nothing_behind() -> None:
    asks, asked, other = Asks(), Client(), Client()

    async def connects_once_more() -> None:
        with asks.one():
            await asked.closed.wait()
            asked.open = True

    other.first = asyncio.create_task(connects_once_more())
    await asyncio.sleep(0)  # it asks
    await asks.close([asked, other])
    assert (asked.open, other.open) == (False, False)
