"""What the routes work with: settings, store, keys, engines. Built once, in `app.py`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from contracts.policy import PolicyLimits, PolicyModel
from contracts.problems import ProblemError
from control_plane.books import Books
from control_plane.engines import EngineWatch
from control_plane.fleet.polling import Poller
from control_plane.fleet.servers import Fleet
from control_plane.grants import pacing_of, policy_limits
from control_plane.metrics import Metrics
from control_plane.passwords import Passwords
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.making import placing_rules
from control_plane.policy_source import PolicySource
from control_plane.prober import Prober
from control_plane.roster import Roster, read_rows
from control_plane.rulebook import Rulebook
from control_plane.signing import Signer
from control_plane.store.audit import note, prune_audit
from control_plane.store.conversations import Shelf, prune_conversations
from control_plane.store.database import Database
from control_plane.store.limits import make_tiers
from control_plane.store.logins import prune_logins
from control_plane.store.tokens import prune_tokens
from control_plane.tally import Tally
from control_plane.throttle import LoginThrottle
from control_plane.tools.calling import Calling
from control_plane.tools.toolbox import Toolbox
from control_plane.tools.trail import Trail
from inventory.settings import Settings
from observability.tracing import Tells

PRUNE_EVERY_S: Final = 60.0
REFRESH_EVERY_S: Final = 1.0


@dataclass(slots=True, repr=False)
class Plane:
    """The collaborators of one control plane. `clock` gives Unix seconds. `shelf` is None
    where conversations are not kept. `models` is what brokers are told of those in `rules`,
    known once the store is open: their age, `created`, is that of the installation."""

    settings: Settings
    policy: PolicySource
    service_key: str
    signer: Signer
    database: Database
    books: Books
    roster: Roster
    engines: EngineWatch
    prober: Prober
    fleet: Fleet
    dispatcher: Dispatcher
    poller: Poller
    metrics: Metrics
    clock: Callable[[], float]
    passwords: Passwords
    tools: Toolbox
    trail: Trail
    shelf: Shelf | None = None
    traces: Tells | None = None
    admin_key: str | None = None
    ingresses: frozenset[str] = frozenset()
    throttle: LoginThrottle = field(default_factory=LoginThrottle)
    tally: Tally = field(default_factory=Tally)
    models: list[PolicyModel] = field(default_factory=list)
    created: int = 0
    roster_stale: bool = False
    tiers_made: bool = False
    calling: Calling = field(init=False)

    def __post_init__(self) -> None:
        ledger = self.books.ledger
        self.calling = Calling(self.tools, ledger.open_grant, self._tools_of, self.clock())

    def _tools_of(self, model: str) -> list[str]:
        """The policy's tools that jobs with a model may ask for."""
        found = self.rules.find(model)
        return found.rules.tools if found else []

    @property
    def rules(self) -> Rulebook:
        """The policy that holds now."""
        return self.policy.rules

    async def begin_policy(self) -> None:
        """Puts the first policy in force. Raises ProblemError 503."""
        self.adopt(self.rules)
        await self._make_tiers()

    def adopt(self, rules: Rulebook) -> None:
        """What looks at parts of the policy only follows this one from now on."""
        self.tiers_made = False
        self.models = rules.policy_models(self.created)
        self.roster.tier_streams = rules.streams
        self.engines.follow(rules.targets)
        self.prober.follow(rules.targets)
        # Without a file engines queue by themselves: nobody has said how much they can take.
        bounded = self.policy.path is not None
        self.dispatcher.follow(placing_rules(rules, self.fleet, bounded=bounded))
        self.poller.follow(rules.targets)
        path = self.policy.path
        self.tools.load(rules.tools, path.parent if path else None)

    async def tend_engines(self) -> None:
        """What is to be done some times a second about engines and those who wait for them."""
        await self.poller.tend()
        self.dispatcher.tick(self.clock())

    async def look_at_policy(self) -> None:
        """Takes over a policy file that has changed."""
        await self.policy.look(self.adopt, self.metrics)
        if not self.tiers_made:
            with suppress(ProblemError):
                await self._make_tiers()

    async def _make_tiers(self) -> None:
        """Users can be of every tier of the policy; a tier stays when the policy drops it."""
        names = list(self.rules.tiers)
        await self.database.run(lambda c: make_tiers(c, names))
        self.tiers_made = True
        await self.reload_roster()

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
            await self.database.run(lambda c: self._prune(c, now))
            await self.keep_tally()
            # Also for a change that was kept, though its caller was told that it was not.
            await self.reload_roster()
        except ProblemError:
            return

    def _prune(self, connection: Connection, now: float) -> None:
        prune_tokens(connection, now)
        prune_logins(connection, now)
        prune_audit(connection, now - self.settings.audit_keep)
        prune_conversations(connection, self.settings.conversations_keep, now)

    async def keep_tally(self) -> None:
        """Writes what was counted into the audit log. Raises ProblemError 503."""
        entries = self.tally.take()
        try:
            await self.database.run(lambda c: note(c, *entries))
        except ProblemError:
            self.tally.restore(entries)
            raise
