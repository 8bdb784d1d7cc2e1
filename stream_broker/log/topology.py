"""Which process serves which home, as the Redis Cluster itself tells."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

from redis.exceptions import ResponseError

from inventory.members import Member, owner, parse_members
from inventory.slots import slot_of
from stream_broker.log.base import LogUnavailable
from stream_broker.log.store import Address, translated
from stream_broker.tasks import end

_LOG = logging.getLogger(__name__)

# A refresh believes the newest of this many views. Once it has one, it waits this long for
# the others (seconds).
_VIEWS = 3
_VIEW_TIMEOUT_S = 0.5


class Closable(Protocol):
    """What ends when its home moves."""

    def close(self) -> None:
        """Ends it."""


class Topology:
    """The primary of each hash tag. `clients`: one for each process of the cluster."""

    def __init__(self, clients: Mapping[Address, Any], tags: tuple[str, ...]) -> None:
        self._clients = clients
        self._slots = {tag: slot_of(tag) for tag in tags}
        self._primaries: dict[str, Address] = {}
        self._bound: dict[str, weakref.WeakSet[Closable]] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def primary(self, tag: str) -> Address | None:
        """Where `tag` lives, as far as it is known."""
        return self._primaries.get(tag)

    def bind(self, tag: str, link: Closable) -> None:
        """Closes `link` when `tag` moves."""
        self._bound.setdefault(tag, weakref.WeakSet()).add(link)

    def follow(self, tag: str, address: Address) -> None:
        """Where the one that was its primary says that `tag` is now."""
        self._place(tag, address)

    async def refresh(self) -> None:
        """Asks the cluster. Who comes while it is being asked shares the answer."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def aclose(self) -> None:
        """Ends a question that is under way: nobody shares its answer any more."""
        if self._refreshing is not None:
            await end([self._refreshing])

    async def _refresh(self) -> None:
        views = await self._views()
        for tag, slot in self._slots.items():
            member = owner(views, slot)
            if member is not None:
                self._place(tag, (member.address, member.port))

    def _place(self, tag: str, address: Address) -> None:
        before = self._primaries.get(tag)
        if address == before or address not in self._clients:
            return
        self._primaries[tag] = address
        if before is not None:
            _LOG.warning("the log of %s has moved from %s:%d to %s:%d", tag, *before, *address)
            for link in list(self._bound.pop(tag, ())):
                link.close()

    async def _views(self) -> list[tuple[Member, ...]]:
        """The first views that come; none only when all calls have ended without one.

        Whoever gave up before the first came, on a machine that is short of CPU time, would
        have to connect to everybody anew, and give up again.
        """
        now = asyncio.get_running_loop().time
        asking = {asyncio.ensure_future(self._view(client)) for client in self._clients.values()}
        views: list[tuple[Member, ...]] = []
        until: float | None = None
        try:
            while asking and len(views) < _VIEWS and (until is None or now() < until):
                left = None if until is None else until - now()
                done, asking = await asyncio.wait(
                    asking, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                views += [view for task in done if (view := task.result())]
                if views and until is None:
                    until = now() + _VIEW_TIMEOUT_S
        finally:
            await end(asking)
        return views

    async def _view(self, client: Any) -> tuple[Member, ...]:
        try:
            async with translated():
                text = await client.execute_command("CLUSTER", "NODES")
        except (LogUnavailable, ResponseError):
            return ()
        return parse_members(text.decode())
