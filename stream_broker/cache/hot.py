"""The cache as the broker uses it: this process's memory, and behind it a shared one.

Neither ever fails to whoever asks: what cannot be looked up is not there, and what cannot be
kept is let go of, both counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from stream_broker.cache.base import CacheAway, SharedCache
from stream_broker.cache.lru import Lru
from stream_broker.metrics import BrokerMetrics

# Of what waits to be written to the shared cache, in bytes.
UNWRITTEN_MAX: Final = 4 << 20

Kind = Literal["embedding"]
Entries = Sequence[tuple[bytes, bytes]]


class HotCache:
    """Values by key, both bytes; keys are hashes, of which no two are alike. `size` bytes in this
    process, for `ttl` seconds; `shared` None: nothing else."""

    def __init__(
        self,
        size: int,
        ttl: float,
        shared: SharedCache | None,
        metrics: BrokerMetrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = Lru(size, ttl)
        self._shared = shared
        self._metrics = metrics
        self._monotonic = monotonic
        self._unwritten: list[tuple[bytes, bytes]] = []
        self._unwritten_bytes = 0
        self._wake = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that this process keeps."""
        return self._own.bytes

    async def get(self, kind: Kind, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What is there of these keys."""
        now = self._monotonic()
        asked = list(dict.fromkeys(keys))
        found = {key: value for key in asked if (value := self._own.get(key, now)) is not None}
        self._count(kind, "hit", len(found))
        missing = [key for key in asked if key not in found]
        if missing and self._shared is not None:
            values = await self._elsewhere(self._shared, kind, missing)
            self._count(kind, "hit_shared", len(values))
            for key, value in values.items():
                self._own.put(key, value, now)
            found |= values
        self._count(kind, "miss", len(asked) - len(found))
        self._metrics.cache_lookup_seconds.labels(kind).observe(self._monotonic() - now)
        return found

    def put(self, kind: Kind, entries: Entries) -> None:
        """Keeps values; those of a key that is there already are the same."""
        now = self._monotonic()
        for key, value in entries:
            self._own.put(key, value, now)
            if self._shared is None:
                continue
            if self._unwritten_bytes + len(value) > UNWRITTEN_MAX:
                self._metrics.cache_errors.labels("write", "full").inc()
                continue
            self._unwritten.append((_named(kind, key), value))
            self._unwritten_bytes += len(value)
            self._wake.set()
        self._metrics.cache_written.labels(kind).inc(sum(len(value) for _, value in entries))

    async def run(self) -> None:
        """Writes to the shared cache until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            entries, self._unwritten = self._unwritten, []
            self._unwritten_bytes = 0
            if self._shared is None or not entries:
                continue
            try:
                await self._shared.put(entries)
            except CacheAway as error:
                self._metrics.cache_errors.labels("write", error.reason).inc()

    async def aclose(self) -> None:
        """Closes the shared cache's connections."""
        if self._shared is not None:
            await self._shared.aclose()

    async def _elsewhere(
        self, shared: SharedCache, kind: Kind, keys: Sequence[bytes]
    ) -> dict[bytes, bytes]:
        named = [_named(kind, key) for key in keys]
        try:
            values = await shared.get(named)
        except CacheAway as error:
            self._metrics.cache_errors.labels("read", error.reason).inc()
            return {}
        pairs = zip(keys, values, strict=True)
        return {key: value for key, value in pairs if value is not None}

    def _count(self, kind: Kind, outcome: str, number: int) -> None:
        if number:
            self._metrics.cache_lookups.labels(kind, outcome).inc(number)


def _named(kind: Kind, key: bytes) -> bytes:
    """The key in a Redis that others may use too. The number is that of the value's form."""
    return b"okome:1:%b:%b" % (kind.encode(), key)
