"""What the routes work with: settings, store, keys, engines. Built once, in `app.py`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from contracts.policy import PolicyLimits, PolicyModel
from contracts.problems import ProblemError
from control_plane.books import Books
from control_plane.engines import EngineWatch
from control_plane.grants import pacing_of, policy_limits
from control_plane.metrics import Metrics
from control_plane.prober import Prober
from control_plane.roster import Roster, read_rows
from control_plane.signing import Signer
from control_plane.store.database import Database
from control_plane.store.tokens import prune_tokens
from inventory.settings import Settings

PRUNE_EVERY_S: Final = 60.0
REFRESH_EVERY_S: Final = 1.0


@dataclass(slots=True, repr=False)
class Plane:
    """The collaborators of one control plane. `clock` gives Unix seconds. `models` is known
    once the store is open: their age is that of the installation."""

    settings: Settings
    service_key: str
    signer: Signer
    database: Database
    books: Books
    roster: Roster
    engines: EngineWatch
    prober: Prober
    metrics: Metrics
    clock: Callable[[], float]
    models: list[PolicyModel] = field(default_factory=list)
    roster_stale: bool = False

    @property
    def limits(self) -> PolicyLimits:
        """The limits of a job, the same for grants and for the policy."""
        return policy_limits(self.settings)

    @property
    def pacing(self) -> dict[str, Any]:
        """How the tokens of a job are paced."""
        return pacing_of(self.settings)

    async def reload_roster(self) -> None:
        """After every change to users, keys or tokens. Raises ProblemError 503."""
        now = self.clock()
        self.roster_stale = True
        self.roster.load(await self.database.run(lambda c: read_rows(c, now)))
        self.roster_stale = False

    async def refresh_roster(self) -> None:
        """Makes good a reload that failed: a key that was revoked must not live on."""
        if self.roster_stale:
            with suppress(ProblemError):
                await self.reload_roster()

    async def prune(self) -> None:
        """Forgets what has expired for good. A store that is busy now is asked again later."""
        now = self.clock()
        try:
            await self.books.prune()
            await self.database.run(lambda c: prune_tokens(c, now))
            # Also for a change that was kept, though its caller was told that it was not.
            await self.reload_roster()
        except ProblemError:
            return
