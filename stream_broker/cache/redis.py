"""A Redis as the shared cache, over the log's way to talk to one (`log/link.py`).

Not the log's Redis: this one evicts (`allkeys-lru`), and may be away for as long as it likes.
A lookup never waits for a connection: where none is open it is a miss, and one is opened
beside it. A lookup that is not answered in time closes its connection, for the answer that
comes late must not be taken for another's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis

from stream_broker.cache.base import CacheAway
from stream_broker.cache.breaker import Breaker
from stream_broker.log.base import LogUnavailable
from stream_broker.log.link import Link, open_link
from stream_broker.log.resp import encode
from stream_broker.log.store import Address
from stream_broker.tasks import end

_LOG = logging.getLogger(__name__)

LINKS_MAX: Final = 16
# Of one command: what is not answered in time is not answered at all.
KEYS_MAX: Final = 32
# Not in anybody's way, so longer than a lookup may take.
CONNECT_S: Final = 1.0
WRITE_S: Final = 0.25


class RedisCache:
    """See SharedCache. Entries live `ttl` seconds from their first writing; a lookup of up to
    KEYS_MAX keys takes `timeout` seconds at most."""

    def __init__(
        self,
        address: Address,
        password: str,
        *,
        ttl: float,
        timeout: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._address = address
        self._password = password
        self._ttl = str(max(1, int(ttl))).encode()
        self._timeout = timeout
        self._monotonic = monotonic
        self._idle: list[Link] = []
        self._writer: Link | None = None
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()
        # Apart: a replica that may not be written to can be read.
        self._reads, self._writes = Breaker(), Breaker()
        self._connects = Breaker()
        self._trouble = ""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See SharedCache."""
        values: list[bytes | None] = []
        for first in range(0, len(keys), KEYS_MAX):
            some = keys[first : first + KEYS_MAX]
            link = self._link()
            try:
                replies = await self._call(
                    self._reads, link, [encode(b"MGET", *some)], self._timeout
                )
            finally:
                self._give_back(link)
            values += replies[0]
        return values

    async def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """See SharedCache. Nobody waits for it, so it may open its connection."""
        for first in range(0, len(entries), KEYS_MAX):
            commands = [
                encode(b"SET", key, value, b"NX", b"EX", self._ttl)
                for key, value in entries[first : first + KEYS_MAX]
            ]
            link = await self._link_to_write()
            await self._call(self._writes, link, commands, WRITE_S)

    async def aclose(self) -> None:
        """See SharedCache."""
        await end(self._opening)
        if self._writer is not None:
            self._writer.close()
        while self._idle:
            self._idle.pop().close()
        # An aborted transport lets go of its socket in the next turn of the loop.
        await asyncio.sleep(0)

    async def _call(
        self, breaker: Breaker, link: Link, commands: list[bytes], timeout: float
    ) -> list[Any]:
        try:
            replies = await link.call(b"".join(commands), len(commands), timeout)
        except LogUnavailable as error:
            raise self._failed(breaker, "no_answer", str(error)) from error
        refused = next((r for r in replies if isinstance(r, hiredis.ReplyError)), None)
        if refused is not None:
            raise self._failed(breaker, "refused", str(refused))
        breaker.succeeded()
        self._say("")
        return replies

    async def _link_to_write(self) -> Link:
        if not self._writes.allows(self._monotonic()):
            raise CacheAway("left_alone")
        if self._writer is None or self._writer.closed:
            try:
                self._writer = await open_link(self._address, CONNECT_S, password=self._password)
            except LogUnavailable as error:
                raise self._failed(self._writes, "not_connected", str(error)) from error
        return self._writer

    def _link(self) -> Link:
        """An open connection that nobody uses. Raises CacheAway where there is none."""
        if not self._reads.allows(self._monotonic()):
            raise CacheAway("left_alone")
        while self._idle:
            link = self._idle.pop()
            if not link.closed:
                return link
            self._open -= 1
        self._connect()
        raise CacheAway("not_connected")

    def _give_back(self, link: Link) -> None:
        if link.closed:
            self._open -= 1
        else:
            self._idle.append(link)

    def _connect(self) -> None:
        if self._open + len(self._opening) >= LINKS_MAX:
            return
        if self._connects.allows(self._monotonic()):
            task = asyncio.get_running_loop().create_task(self._connected())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connected(self) -> None:
        try:
            link = await open_link(self._address, CONNECT_S, password=self._password)
        except LogUnavailable as error:
            self._failed(self._connects, "not_connected", str(error))
            return
        self._connects.succeeded()
        self._open += 1
        self._idle.append(link)

    def _failed(self, breaker: Breaker, reason: str, told: str) -> CacheAway:
        breaker.failed(self._monotonic())
        if breaker.open:
            self._say(f"{reason}: {told}")
        return CacheAway(reason, told)

    def _say(self, trouble: str) -> None:
        """Once when it goes and once when it comes."""
        if bool(trouble) != bool(self._trouble):
            told = f"is not used: {trouble}" if trouble else "is used again"
            _LOG.warning("the cache at %s:%s %s", *self._address, told)
        self._trouble = trouble
