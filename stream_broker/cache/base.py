"""What a shared cache offers to the brokers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CacheAway(Exception):
    """No answer, or not in time. `reason` is a word for a metric's label."""

    def __init__(self, reason: str, told: str = "") -> None:
        super().__init__(f"{reason}: {told}" if told else reason)
        self.reason = reason


class SharedCache(Protocol):
    """A cache that other processes share. Neither call waits for longer than a lookup may
    take, and both raise CacheAway and nothing else."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, in order; None for those that are not there."""
        ...

    async def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Keeps entries that are not there yet; those that are keep the time they have left."""
        ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...
