"""Entries in the memory of this process: the least recently used goes first. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# What an entry takes besides its key and value: the dictionary's place, two objects, a time.
OVERHEAD: Final = 200


class Lru:
    """At most `size` bytes of entries, each for `ttl` seconds at most. Times in seconds."""

    def __init__(self, size: int, ttl: float) -> None:
        self._size = size
        self._ttl = ttl
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> bytes | None:
        """The value, unless it is gone or too old."""
        found = self._entries.get(key)
        if found is None:
            return None
        value, until = found
        if now >= until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes, now: float) -> None:
        """Keeps an entry. One that is there already, and alive, keeps its time."""
        if self.get(key, now) is not None or _cost(key, value) > self._size:
            return
        self._entries[key] = value, now + self._ttl
        self.bytes += _cost(key, value)
        while self.bytes > self._size:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        value, _ = self._entries.pop(key)
        self.bytes -= _cost(key, value)


def _cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD
