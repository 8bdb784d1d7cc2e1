"""The ledger with the database behind it: nobody is told what is not kept yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from contracts.grants import Settlement
from contracts.problems import ProblemError
from control_plane.allowance import SPANS, Allowance, period_of
from control_plane.gathered import Gathered
from control_plane.holdings import Admission, OpenGrant
from control_plane.ledger import Ledger
from control_plane.store.database import Database
from control_plane.store.grants import (
    add_grants,
    adding,
    drop_grants,
    idle_grants,
    keep_renewals,
    open_grants,
    renewing,
)
from control_plane.store.keeping import Keep, keep_nothing
from control_plane.store.usage import Settled, settle, settling, used_in, used_tokens

# Calls for grants, each of some, and settlements that are written in one statement at most:
# bounds how long one caller waits for others.
_CALLS_TOGETHER: Final = 32
_SETTLED_TOGETHER: Final = 512
_IDS_TOGETHER: Final = 500
_DAY_S: Final = 86_400.0


# What the database says of rows that it will not take at any time.
NeverKept: TypeAlias = IntegrityError | DataError


class Asked(msgspec.Struct, frozen=True):
    """What is asked for one job: `max_tokens` of an answer behind about `prompt_tokens`."""

    allowance: Allowance
    grant: OpenGrant
    prompt_tokens: int
    max_tokens: int


class Books:
    """`clock` gives Unix seconds. `load` before use, `aclose` after.

    `keep` hears of each job's first settlement, in the transaction that keeps it.
    """

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        clock: Callable[[], float],
        keep: Keep = keep_nothing,
    ) -> None:
        self.ledger = ledger
        self._database = database
        self._clock = clock
        self._also_keep = keep
        self._fresh: Gathered[list[OpenGrant], None] = Gathered(self._keep_fresh, _CALLS_TOGETHER)
        self._settled: Gathered[Settlement, bool] = Gathered(self._keep_settled, _SETTLED_TOGETHER)
        # Users whose sums in the ledger may be less than those in the database.
        self._doubtful: set[str] = set()

    async def load(self) -> None:
        """Makes the ledger of what the database has. Raises ProblemError 503."""
        now = self._clock()
        # As a report: it may take longer than a call may.
        grants = await self._database.read(open_grants)
        periods = _periods(now, *{grant.created_at // _DAY_S * _DAY_S for grant in grants})
        used = await self._database.read(lambda c: used_in(c, periods))
        self.ledger.load(grants, used, now)

    async def aclose(self) -> None:
        """Returns when what was under way is written."""
        await self._fresh.aclose()
        await self._settled.aclose()

    async def open_each(self, asked: Sequence[Asked]) -> list[Admission | ProblemError]:
        """See `Ledger.admit`: each by itself, all kept together; in place of a refusal the
        refusal. Raises ProblemError 503 when they cannot be kept."""
        now = self._clock()
        answers = [self._admit(question, now) for question in asked]
        fresh = [answer.grant for answer in answers if isinstance(answer, Admission)]
        if fresh:
            await self._put(fresh)
        return answers

    async def settle_each(self, settlements: Sequence[Settlement]) -> list[bool | NeverKept]:
        """Keeps settlements for good; returns for each whether it was its job's first, or why
        the database will never take it.

        Raises ProblemError 503 when they cannot be kept now; to repeat all is harmless.
        """
        calls = map(self._settled.add, settlements)
        results: list[bool | NeverKept] = []
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if not isinstance(result, bool | NeverKept):
                raise result
            results.append(result)
        return results

    async def renew(
        self, lease_ids: Sequence[str], allowance_of: Callable[[str], Allowance]
    ) -> list[str]:
        """Renews leases; returns those that hold no slot. Raises ProblemError 503; the
        leases live on all the same then, but not through a restart."""
        kept, lost = self.ledger.renew(lease_ids, allowance_of, self._clock())
        for start in range(0, len(kept), _IDS_TOGETHER):
            some = kept[start : start + _IDS_TOGETHER]
            ids, until = [grant.id for grant in some], some[0].lease_until
            await self._database.run(
                partial(keep_renewals, ids=ids, until=until), alone=partial(renewing, ids, until)
            )
        return lost

    async def acquire(
        self, leases: Mapping[str, str], node: str, allowance_of: Callable[[str], Allowance]
    ) -> list[str]:
        """Takes slots for running jobs, lease id -> user id; returns leases without one.

        Raises ProblemError 503 when some could not be kept; those that could stay.
        """
        lost = await self.renew(list(leases), allowance_of)
        now = self._clock()
        taken: list[OpenGrant] = []
        refused: list[str] = []
        for lease_id in lost:
            user_id = leases[lease_id]
            grant = self.ledger.acquire(lease_id, user_id, node, allowance_of(user_id), now)
            if grant is None:
                refused.append(lease_id)
            else:
                taken.append(grant)
        parts = [taken[at : at + _IDS_TOGETHER] for at in range(0, len(taken), _IDS_TOGETHER)]
        for error in await asyncio.gather(*map(self._put, parts), return_exceptions=True):
            if error is not None:
                raise error
        return refused

    async def prune(self) -> None:
        """Forgets grants whose settlement never came, here and in the database; there also
        those of callers who were told that they could not be kept. Raises ProblemError 503."""
        now = self._clock()
        self.ledger.expire(now)
        idle = await self._database.read(lambda c: idle_grants(c, now))
        for start in range(0, len(idle), _IDS_TOGETHER):
            some = idle[start : start + _IDS_TOGETHER]
            # The ledger has a grant before the database has it: what it has not is over.
            gone = [grant_id for grant_id, lease in some if not self.ledger.holds(grant_id, lease)]
            if gone:
                await self._database.run(_dropping(gone))

    def _admit(self, asked: Asked, now: float) -> Admission | ProblemError:
        try:
            return self.ledger.admit(
                asked.allowance, asked.grant, asked.prompt_tokens, asked.max_tokens, now
            )
        except ProblemError as refusal:
            return refusal

    async def _put(self, fresh: list[OpenGrant]) -> None:
        try:
            await self._fresh.add(fresh)
        except Exception:
            # Not when cancelled: then they are kept all the same, and free themselves.
            for grant in fresh:
                self.ledger.undo(grant)
            raise

    async def _keep_fresh(self, calls: list[list[OpenGrant]]) -> list[None]:
        # As they are now: the thread must not see what changes meanwhile.
        fresh = [grant for call in calls for grant in call]
        rows = [msgspec.structs.asdict(grant) for grant in fresh]
        # A lease that is taken again may need another's row to give way.
        simple = all(grant.requests for grant in fresh)
        await self._database.run(
            partial(add_grants, rows=rows), alone=partial(adding, rows) if simple else None
        )
        return [None] * len(calls)

    async def _keep_settled(self, settlements: list[Settlement]) -> list[bool]:
        now = self._clock()
        ended = [
            self.ledger.grant_of(entry.user_id, entry.grant_id, entry.lease_id)
            for entry in settlements
        ]
        batch = [
            _settled(entry, grant, now) for entry, grant in zip(settlements, ended, strict=True)
        ]
        users = {entry.user_id for entry in settlements}
        # With a session a conversation is written too.
        talks = any(entry.session_id is not None for entry in settlements)
        try:
            firsts = await self._database.run(
                lambda c: self._settle(c, batch, now),
                durable=True,
                alone=None if talks else partial(settling, batch, now),
            )
        except Exception:
            # It may have been kept all the same.
            self._doubtful |= users
            raise
        for entry, grant, first in zip(batch, ended, firsts, strict=True):
            if grant is not None:
                self.ledger.close(grant)
            if first:
                tokens = used_tokens(entry.settlement)
                self.ledger.add(entry.settlement.user_id, entry.granted_at, tokens)
            else:
                # Perhaps one whose commit was not heard of.
                self._doubtful.add(entry.settlement.user_id)
        if self._doubtful:
            # They are kept, whatever comes of this: it is done again with the next ones.
            with suppress(ProblemError):
                await self._look_up(now)
        return firsts

    def _settle(self, connection: Connection, batch: Sequence[Settled], now: float) -> list[bool]:
        firsts = settle(connection, batch, now)
        for entry, first in zip(batch, firsts, strict=True):
            if first:
                self._also_keep(connection, entry.settlement, now)
        return firsts

    async def _look_up(self, now: float) -> None:
        """Takes the sums of doubtful users from the database. Runs between two batches of
        settlements, so that the sums are of now."""
        users = sorted(self._doubtful)[:_IDS_TOGETHER]
        self.ledger.set_used(await self._database.run(lambda c: used_in(c, _periods(now), users)))
        self._doubtful.difference_update(users)


def _periods(*moments: float) -> list[str]:
    """The days and months of these moments, and of the days before them."""
    both = [moment - back for moment in moments for back in (0.0, _DAY_S)]
    return sorted({period_of(moment, span) for moment in both for span in SPANS})


def _settled(settlement: Settlement, grant: OpenGrant | None, now: float) -> Settled:
    """A job counts for the model and the period that it was granted for: its client may have
    asked by an alias. Where the period is not known, because
    a broker decided alone or its lease was taken again, for that of the broker's clock, which
    may be ahead: never for the future."""
    granted_at = min(settlement.created_at, now)
    if grant is not None and grant.requests:
        granted_at = grant.created_at
    grant_id = grant.id if grant else None
    if grant is not None and grant.model:
        settlement = msgspec.structs.replace(settlement, model=grant.model)
    return Settled(settlement=settlement, granted_at=granted_at, grant_id=grant_id)


def _dropping(ids: Sequence[str]) -> Callable[[Connection], None]:
    return lambda connection: drop_grants(connection, ids)
