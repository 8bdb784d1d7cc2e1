"""Finding the homes of the log in a Redis Cluster, and noticing that one is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_broker.log.base import LogUnavailable
from stream_broker.log.resp import encode
from stream_broker.log.store import Scripts
from stream_broker.log.stores import ClusterStores, OneStore, stores_of
from tests.stream_broker.building import KEYS
from tests.stream_broker.replicated import running_stores
from tests.support.cluster import free_port
from tests.support.eventually import eventually_async
from tests.support.redis_cluster import ClusterServers

TAG, OTHER, *_ = KEYS.tags
NODE = "okome-node-03"
PROMOTED_S = 15.0


def key(tag: str) -> str:
    return f"okome:{{{tag}}}:test"


async def write(stores: ClusterStores, tag: str, value: str) -> Any:
    return await stores.ask(tag, lambda redis: redis.set(key(tag), value))


async def written(stores: ClusterStores, tag: str, value: str) -> bool:
    try:
        return bool(await write(stores, tag, value))
    except LogUnavailable:
        return False


async def test_every_home_is_asked_at_its_own_primary(
    cluster_servers: ClusterServers, cluster_stores: ClusterStores
) -> None:
    for tag in KEYS.tags:
        await write(cluster_stores, tag, tag)
    for node, tag in zip(cluster_servers.cluster.role("stream"), KEYS.tags, strict=True):
        store = cluster_servers.home(node.name)
        assert cluster_stores.topology.primary(tag) == (store.address, store.port)
        assert cluster_servers.command(store, "GET", key(tag)) == tag.encode()


async def test_a_home_that_moves_is_followed(wounded: ClusterServers) -> None:
    async with running_stores(wounded.cluster) as stores:
        link = await stores.link(TAG)
        await write(stores, TAG, "before")
        other = await stores.link(OTHER)
        wounded.kill(wounded.home(NODE))
        await eventually_async(lambda: written(stores, TAG, "after"), PROMOTED_S)
        assert (link.closed, other.closed) == (True, False)
        other.close()
        heir = await asyncio.to_thread(wounded.wait_promoted, NODE)
        assert wounded.command(heir, "GET", key(TAG)) == b"after"


async def test_slots_that_were_given_to_another_are_found_in_the_same_call(
    wounded: ClusterServers,
) -> None:
    # A home that nothing has happened to: Redis takes a replica's votes of the last four
    # seconds for new ones, and it would be a primary with an old number.
    node, tag = "okome-node-05", KEYS.tags[2]
    async with running_stores(wounded.cluster) as stores:
        await write(stores, tag, "before")
        heir = wounded.replicas(node)[0]
        wounded.command(heir, "CLUSTER", "FAILOVER")
        await eventually_async(lambda: wounded.primary(node) == heir, PROMOTED_S)
        await write(stores, tag, "after")
        assert wounded.command(heir, "GET", key(tag)) == b"after"


async def test_a_home_is_away_until_it_takes_writes_again(wounded: ClusterServers) -> None:
    async with running_stores(wounded.cluster) as stores:
        await write(stores, TAG, "before")
        assert not stores.away(TAG)
        wounded.kill(wounded.home(NODE))
        assert not await written(stores, TAG, "during")
        assert (stores.away(TAG), stores.away(OTHER)) == (True, False)
        await eventually_async(lambda: not stores.away(TAG), PROMOTED_S)
        await write(stores, TAG, "after")


async def test_a_home_without_replicas_is_away_too(wounded: ClusterServers) -> None:
    async with running_stores(wounded.cluster) as stores:
        for replica in wounded.replicas(NODE):
            wounded.hang(replica)
        calls = [("return redis.call('SET', KEYS[1], 1)", [key(TAG)], [])]
        with pytest.raises(LogUnavailable, match="too few replicas"):
            await stores.ask(TAG, lambda redis: Scripts(redis).run_all(calls, acks=1))
        assert stores.away(TAG)
        for replica in wounded.replicas(NODE):
            wounded.go_on(replica)
        await eventually_async(lambda: not stores.away(TAG))


async def test_when_all_homes_are_away_none_is_better_off_elsewhere() -> None:
    address = ("127.0.0.1", free_port())
    stores = ClusterStores((address,), KEYS.tags, acks=1, timeout=0.5)
    for tag in KEYS.tags:
        with pytest.raises(LogUnavailable, match="nobody serves"):
            await write(stores, tag, "x")
        stores.suspect(tag)
    assert not stores.away(TAG)
    stores.trust(OTHER)
    assert stores.away(TAG)
    await stores.aclose()


async def test_a_password_opens_every_kind_of_connection(wounded: ClusterServers) -> None:
    everybody = tuple((store.address, store.port) for store in wounded.stores.values())
    for store in wounded.stores.values():
        wounded.command(store, "CONFIG", "SET", "masterauth", "secret")
        wounded.command(store, "CONFIG", "SET", "requirepass", "secret")
    stores = ClusterStores(everybody, KEYS.tags, acks=1, password="secret")
    try:
        await write(stores, TAG, "x")
        link = await stores.link(TAG)
        assert await link.call(encode(b"GET", key(TAG).encode()), 1, 1.0) == [b"x"]
        link.close()
    finally:
        for host, port in everybody:
            await stores._clients[host, port].config_set("requirepass", "")
            # Else no replica could follow another primary in any test after this one.
            await stores._clients[host, port].config_set("masterauth", "")
        await stores.aclose()


def test_the_inventory_says_which_stores_there_are(cluster_servers: ClusterServers) -> None:
    from dataclasses import replace

    from inventory.load import LOCAL, load_cluster

    assert isinstance(stores_of(cluster_servers.cluster, acks=2), ClusterStores)
    local = load_cluster(LOCAL)
    assert isinstance(stores_of(local, acks=1), OneStore)
    assert stores_of(replace(local, durability="none"), acks=1) is None
