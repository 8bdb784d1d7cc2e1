"""Which idle connection to use next, and which to give up."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice, takewhile
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class IdlePool(Generic[Item]):
    """Idle items by key: at most `size` in all, none idle for `expiry` seconds or more.

    Pure: it decides, and whoever asked closes what it hands out as given up.
    """

    def __init__(self, size: int, expiry: float) -> None:
        self._size = size
        self._expiry = expiry
        # Oldest first, for insertion order is the order of becoming idle.
        self._idle: dict[Item, tuple[Hashable, float]] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def put(self, key: Hashable, item: Item, now: float) -> list[Item]:
        """Keeps an item that has become idle; returns what has to go for it."""
        self._idle[item] = (key, now)
        surplus = len(self._idle) - self._size
        return [self._pop(old) for old in list(islice(self._idle, max(surplus, 0)))]

    def take(self, key: Hashable, now: float) -> Item | None:
        """The item of this key that became idle last: the likeliest to be alive."""
        for item in reversed(self._idle):
            owner, since = self._idle[item]
            if owner == key and now - since < self._expiry:
                return self._pop(item)
        return None

    def discard(self, item: Item) -> None:
        """Forgets an item that is gone, if it was idle."""
        self._idle.pop(item, None)

    def expire(self, now: float) -> list[Item]:
        """Gives up all that has been idle for too long."""
        # Oldest first: what follows one that may stay may stay too.
        idle = self._idle.items()
        old = takewhile(lambda kept: now - kept[1][1] >= self._expiry, idle)
        return [self._pop(item) for item, _ in list(old)]

    def clear(self) -> list[Item]:
        """Gives up everything."""
        return [self._pop(item) for item in list(self._idle)]

    def _pop(self, item: Item) -> Item:
        del self._idle[item]
        return item
