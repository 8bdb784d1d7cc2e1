"""Who waits for an engine, and who is next. Pure.

Among the jobs of one priority the user with the fewest jobs at work is next, then the one
that was served longest ago: whoever asks for much waits behind whoever asks for little.
Between priorities the higher one is next, and a point is worth AGEING_S of waiting, so that
a steady stream of the higher ones does not starve the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from control_plane.holdings import OpenGrant
from control_plane.placing.placement import Job

# Seconds of waiting that are worth one point of priority.
AGEING_S: Final = 0.5
_SERVED_REMEMBERED: Final = 10_000


class Waiter(msgspec.Struct, kw_only=True):
    """A job that waits. `priority` is its tier's; `joined` and `seen` (when its broker last
    asked) in Unix seconds, and it was told to ask again within `ask_again_s`."""

    grant: OpenGrant
    model: str
    priority: int
    job: Job
    joined: float
    seen: float
    ask_again_s: float

    def is_late(self, now: float, grace_s: float) -> bool:
        """Should its broker have asked again by now?"""
        return now - self.seen > self.ask_again_s + grace_s


class Waiting:
    """All jobs that wait. `running` tells how many of a user's are at engines."""

    def __init__(self, running: Callable[[str], int]) -> None:
        self._running = running
        self._models: dict[str, dict[str, Waiter]] = {}
        self._by_id: dict[str, Waiter] = {}
        self._served: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._by_id.values())

    @property
    def models(self) -> list[str]:
        """Those that somebody waits for."""
        return list(self._models)

    def length(self, model: str) -> int:
        """How many wait for a model."""
        return len(self._models.get(model, ()))

    def get(self, grant_id: str) -> Waiter | None:
        """A waiting job by its grant."""
        return self._by_id.get(grant_id)

    def join(self, waiter: Waiter) -> None:
        """It waits from now on."""
        self._models.setdefault(waiter.model, {})[waiter.grant.id] = waiter
        self._by_id[waiter.grant.id] = waiter

    def leave(self, grant_id: str) -> Waiter | None:
        """It waits no more; None: it did not."""
        waiter = self._by_id.pop(grant_id, None)
        if waiter is not None:
            of_model = self._models[waiter.model]
            del of_model[grant_id]
            if not of_model:
                del self._models[waiter.model]
        return waiter

    def served(self, user_id: str, now: float) -> None:
        """A job of the user was sent to an engine."""
        self._served[user_id] = now
        self._served.move_to_end(user_id)
        if len(self._served) > _SERVED_REMEMBERED:
            self._served.popitem(last=False)

    def order(self, model: str, now: float) -> list[Waiter]:
        """Who waits for a model, the next one first."""
        fair: dict[int, list[Waiter]] = {}
        for _, waiter in self._fairly(model):
            fair.setdefault(waiter.priority, []).append(waiter)
        # Of each priority the first one's age counts: those behind it are not late yet.
        ranks = {p: p + max(0.0, now - of[0].joined) / AGEING_S for p, of in fair.items()}
        return [
            waiter
            for priority in sorted(fair, key=lambda p: (-ranks[p], -p))
            for waiter in fair[priority]
        ]

    def urgency(self, waiter: Waiter, now: float) -> tuple[float, int, float, float]:
        """Compares the first ones of several models: the least is next."""
        rank = waiter.priority + max(0.0, now - waiter.joined) / AGEING_S
        user = waiter.grant.user_id
        return -rank, self._running(user), self._served.get(user, 0.0), waiter.joined

    def _fairly(self, model: str) -> list[tuple[tuple[int, float, float, str], Waiter]]:
        """Of each priority, each user's first job before anybody's second."""
        waiting = sorted(self._models.get(model, {}).values(), key=lambda w: w.joined)
        before: Counter[tuple[str, int]] = Counter()
        found = []
        for waiter in waiting:
            user = waiter.grant.user_id
            share = self._running(user) + before[(user, waiter.priority)]
            before[(user, waiter.priority)] += 1
            served = self._served.get(user, 0.0)
            found.append(((share, served, waiter.joined, waiter.grant.id), waiter))
        return sorted(found, key=lambda pair: pair[0])
