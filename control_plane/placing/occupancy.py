"""Which job is at which engine, counted in memory. Pure.

A job counts from its grant to its settlement; one whose broker died counts until its lease
has expired. The engine's own metrics are added where they tell of more (`Server.others`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from contracts.grants import EngineTarget
from control_plane.holdings import OpenGrant

# A grant whose reservation is being written has no lease yet.
_WRITING: Final = 0.0


class Held(msgspec.Struct, kw_only=True):
    """A job at an engine `since` then (Unix seconds). `gpu`: that it works on; `trial`: it
    tries an engine that has failed; `adopted`: it was granted before this process began, and
    may be one that waits."""

    grant: OpenGrant
    model: str
    url: str
    targets: tuple[EngineTarget, ...]
    since: float = 0.0
    gpu: str | None = None
    trial: bool = False
    adopted: bool = False


class Occupancy:
    """All jobs that were sent to engines and have not ended."""

    def __init__(self) -> None:
        self._jobs: dict[str, Held] = {}
        self._by_url: Counter[str] = Counter()
        self._by_gpu: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._jobs.values())

    def get(self, grant_id: str) -> Held | None:
        """A job by its grant."""
        return self._jobs.get(grant_id)

    def take(self, held: Held) -> None:
        """A job is sent to an engine."""
        self.release(held.grant.id)
        self._jobs[held.grant.id] = held
        self._count(held, 1)

    def release(self, grant_id: str) -> Held | None:
        """It has ended; None: it was not there."""
        held = self._jobs.pop(grant_id, None)
        if held is not None:
            self._count(held, -1)
        return held

    def held(self, url: str) -> int:
        """Jobs of ours at an engine."""
        return self._by_url[url]

    def on_gpu(self, name: str) -> int:
        """Jobs of ours on a GPU, over all its engines."""
        return self._by_gpu[name]

    def running(self, user_id: str) -> int:
        """Jobs of a user at engines."""
        return self._by_user[user_id]

    def expired(self, now: float) -> list[str]:
        """Grants of jobs that nobody renews any more."""
        return [
            grant_id
            for grant_id, held in self._jobs.items()
            if held.grant.lease_until != _WRITING and held.grant.lease_until <= now
        ]

    def _count(self, held: Held, by: int) -> None:
        pairs = (
            (self._by_url, held.url),
            (self._by_gpu, held.gpu),
            (self._by_user, held.grant.user_id),
        )
        for counter, key in pairs:
            if key is None:
                continue
            counter[key] += by
            if not counter[key]:
                del counter[key]
