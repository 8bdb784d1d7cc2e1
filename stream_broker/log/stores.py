"""Where the keys of a home live, and how to ask there: one Redis, or a Redis Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from redis.exceptions import MovedError, ResponseError

from inventory.model import Cluster, Durability
from stream_broker.log.asks import Asks
from stream_broker.log.base import LogUnavailable, Unacknowledged
from stream_broker.log.keys import Keys
from stream_broker.log.link import Link, open_link
from stream_broker.log.preflight import check
from stream_broker.log.store import WAIT_MS, Address, connect, translated
from stream_broker.log.topology import Topology

T = TypeVar("T")

# Redis must answer a command within this, and accept a connection within this (seconds).
COMMAND_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 0.5
# Places at which a call is tried while its home moves.
_TRIES = 3
# How often it is looked for a home that does not answer: what a promotion is noticed late.
_LOOK_S = 0.1
_LOOK_MAX_S = 1.0


class Stores(Protocol):
    """`acks`: replicas that must have a write before it counts."""

    durability: Durability
    acks: int

    def lane(self, tag: str, /) -> str:
        """Homes with the same lane are written through one connection."""

    async def ask(self, tag: str, call: Callable[[Any], Awaitable[T]], /) -> T:
        """The answer of `call(client)` where `tag` lives. Raises LogUnavailable.

        It may be called again at another place, so it has to be repeatable.
        """

    async def link(self, tag: str, /, *setup: bytes) -> Link:
        """A connection of one's own to where `tag` lives. Raises LogUnavailable."""

    def suspect(self, tag: str, /) -> None:
        """Where `tag` lived it was not answered as it should be."""

    def trust(self, tag: str, /) -> None:
        """Where `tag` lives it was answered."""

    def away(self, tag: str, /) -> bool:
        """Is the home of `tag` away, while others answer?"""

    async def check(self) -> None:
        """Raises LogRefused when a Redis answers that can never be used."""

    async def run(self) -> None:
        """Looks for what has moved, until cancelled."""

    async def aclose(self) -> None:
        """Closes all connections but links; whoever asks then hears LogUnavailable."""


class OneStore:
    """One Redis for all homes: durability `local`."""

    durability: Durability = "local"
    acks = 0

    def __init__(
        self, address: Address, *, password: str = "", timeout: float = COMMAND_TIMEOUT_S
    ) -> None:
        self._address = address
        self._password = password
        self.client = connect(*address, timeout=timeout, password=password)
        self._asks = Asks()

    def lane(self, _tag: str) -> str:
        """See Stores."""
        return ""

    async def ask(self, _tag: str, call: Callable[[Any], Awaitable[T]]) -> T:
        """See Stores."""
        with self._asks.one():
            async with translated():
                return await call(self.client)

    async def link(self, _tag: str, *setup: bytes) -> Link:
        """See Stores."""
        return await open_link(
            self._address, CONNECT_TIMEOUT_S, password=self._password, setup=setup
        )

    def suspect(self, _tag: str) -> None:
        """There is nowhere else to look."""

    def trust(self, _tag: str) -> None:
        """There is nowhere else to look."""

    def away(self, _tag: str) -> bool:
        """Never: when it is away, it is so for all."""
        return False

    async def check(self) -> None:
        """See Stores."""
        await check((self._address,), self._password, clustered=False)

    async def run(self) -> None:
        """Nothing moves."""

    async def aclose(self) -> None:
        """See Stores."""
        await self._asks.close([self.client])


class ClusterStores:
    """The primaries of a Redis Cluster: durability `replicated`.

    `addresses`: every process of the cluster; `tags`: all hash tags.
    """

    durability: Durability = "replicated"

    def __init__(
        self,
        addresses: tuple[Address, ...],
        tags: tuple[str, ...],
        *,
        acks: int,
        password: str = "",
        timeout: float = COMMAND_TIMEOUT_S,
    ) -> None:
        self.acks = acks
        self._password = password
        self._clients = {
            address: connect(*address, timeout=timeout, password=password) for address in addresses
        }
        self.topology = Topology(self._clients, tags)
        self._homes = len(tags)
        self._asks = Asks()
        self._suspects: set[str] = set()
        self._suspected = asyncio.Event()

    def lane(self, tag: str) -> str:
        """Each home by itself: the loss of one's primary must not hold up the others."""
        return tag

    async def ask(self, tag: str, call: Callable[[Any], Awaitable[T]]) -> T:
        """See Stores. Again where `tag` has moved to, when it has."""
        with self._asks.one():
            return await self._ask(tag, call)

    async def _ask(self, tag: str, call: Callable[[Any], Awaitable[T]]) -> T:
        tries = _TRIES
        while True:
            address = await self._where(tag)
            tries -= 1
            try:
                async with translated():
                    return await call(self._clients[address])
            except LogUnavailable as error:
                self.suspect(tag)
                if isinstance(error, Unacknowledged) or not tries or self._asks.closed:
                    raise
                await self.topology.refresh()
                if self.topology.primary(tag) != address:
                    continue
                if not isinstance(error.__cause__, MovedError):
                    raise
                # Those that answered first do not know it yet.
                self.topology.follow(tag, error.__cause__.node_addr)

    async def link(self, tag: str, *setup: bytes) -> Link:
        """See Stores. It is closed when `tag` moves."""
        address = await self._where(tag)
        try:
            link = await open_link(address, CONNECT_TIMEOUT_S, password=self._password, setup=setup)
        except LogUnavailable:
            self.suspect(tag)
            raise
        self.topology.bind(tag, link)
        return link

    def suspect(self, tag: str) -> None:
        """See Stores. `run` looks until it takes writes again, wherever that is."""
        self._suspects.add(tag)
        self._suspected.set()

    def trust(self, tag: str) -> None:
        """See Stores."""
        self._suspects.discard(tag)

    def away(self, tag: str) -> bool:
        """See Stores."""
        return tag in self._suspects and len(self._suspects) < self._homes

    async def check(self) -> None:
        """See Stores."""
        await check(tuple(self._clients), self._password, clustered=True)

    async def run(self) -> None:
        """See Stores."""
        while True:
            await self._suspected.wait()
            pause = _LOOK_S
            while self._suspects:
                await self.topology.refresh()
                await asyncio.gather(*(self._try(tag) for tag in tuple(self._suspects)))
                await asyncio.sleep(pause)
                pause = min(pause * 1.1, _LOOK_MAX_S)
            self._suspected.clear()

    async def _try(self, tag: str) -> None:
        """A write, acknowledged like a token: without one a suspicion would stay for ever."""
        address = self.topology.primary(tag)
        if address is None:
            return
        try:
            async with translated(), self._clients[address].pipeline(transaction=False) as pipe:
                pipe.set(Keys(tag).touched, 1)
                pipe.wait(self.acks, WAIT_MS)
                _, acks = await pipe.execute()
        except (LogUnavailable, ResponseError):
            return
        if acks >= self.acks:
            self.trust(tag)

    async def aclose(self) -> None:
        """See Stores."""
        self._asks.closed = True  # so that nobody looks for a home again
        await self.topology.aclose()
        await self._asks.close(self._clients.values())

    async def _where(self, tag: str) -> Address:
        address = self.topology.primary(tag)
        if address is None:
            await self.topology.refresh()
            address = self.topology.primary(tag)
        if address is None:
            raise LogUnavailable(f"nobody serves {tag}")
        return address


def stores_of(cluster: Cluster, acks: int, password: str = "") -> OneStore | ClusterStores | None:
    """The stores of the cluster's log; None where its durability is `none`."""
    addresses = tuple((store.address, store.port) for store in cluster.log_stores())
    if cluster.durability == "replicated":
        return ClusterStores(addresses, cluster.log_tags(), acks=acks, password=password)
    return OneStore(addresses[0], password=password) if addresses else None
