"""Takes the settlements of ended jobs: on disk before a broker may forget them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from contracts.grants import Settlement
from contracts.problems import ProblemError
from control_plane.placing.outcomes import settled
from control_plane.plane import Plane
from control_plane.settlements import check_settlement, tidied

log = logging.getLogger(__name__)


class Settling:
    """The usage log of one plane, and what is counted of it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def settle(self, settlement: Settlement) -> None:
        """Writes the usage of an ended job. Raises ProblemError."""
        check_settlement(settlement)
        if refused := await self._write([self._named(tidied(settlement))]):
            raise ProblemError("invalid_request", refused[settlement.job_id])

    async def settle_each(self, settlements: Sequence[Settlement]) -> dict[str, str]:
        """Writes what no rule forbids; job id -> reason of what can never be written.

        Raises ProblemError 503; to repeat all of them is harmless.
        """
        refused: dict[str, str] = {}
        sound: list[Settlement] = []
        for settlement in settlements:
            try:
                check_settlement(settlement)
            except ProblemError as problem:
                refused[settlement.job_id] = problem.detail
            else:
                sound.append(self._named(tidied(settlement)))
        return refused | await self._write(sound)

    def _named(self, settlement: Settlement) -> Settlement:
        """With the model's own name where the client asked by an alias. A grant that is known
        says it better: the alias may lead elsewhere by now."""
        found = self._plane.rules.find(settlement.model)
        return settlement if found is None else replace(settlement, model=found.id)

    async def _write(self, settlements: Sequence[Settlement]) -> dict[str, str]:
        refused: dict[str, str] = {}
        results = await self._plane.books.settle_each(settlements)
        now = self._plane.clock()
        for settlement, result in zip(settlements, results, strict=True):
            settled(self._plane.dispatcher, settlement, now)
            if isinstance(result, bool):
                self._count(settlement, first=result)
            else:
                # No rule of ours forbids it: one is missing.
                log.error("the settlement of %s cannot be kept: %r", settlement.job_id, result)
                refused[settlement.job_id] = "It cannot be kept."
        return refused

    def _count(self, settlement: Settlement, *, first: bool) -> None:
        metrics, usage = self._plane.metrics, settlement.usage
        metrics.settlements.labels(settlement.outcome, str(first).lower()).inc()
        if not first:
            return
        known = self._plane.rules.find(settlement.model)
        model = known.id if known else "other"
        metrics.tokens.labels(model, "prompt").inc(usage.prompt_tokens)
        metrics.tokens.labels(model, "completion").inc(usage.completion_tokens)
        metrics.tokens.labels(model, "cached").inc(usage.cached_tokens)
