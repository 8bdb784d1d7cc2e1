"""The ledger with the database behind it: nobody is told what is not kept yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from contracts.grants import Settlement
from contracts.problems import ProblemError
from control_plane.allowance import SPANS, Allowance, period_of
from control_plane.gathered import Gathered
from control_plane.ledger import Admission, Ledger, OpenGrant
from control_plane.store.database import Database
from control_plane.store.grants import add_grants, drop_grants, keep_renewals, open_grants
from control_plane.store.keeping import Keep, keep_nothing
from control_plane.store.usage import Settled, settle, used_in, used_tokens

# Calls whose rows are written in one statement at most: bounds how long one waits.
_TOGETHER: Final = 32


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
        self._fresh: Gathered[list[OpenGrant], None] = Gathered(self._keep_fresh, _TOGETHER)
        self._settled: Gathered[list[Settlement], list[bool]] = Gathered(
            self._keep_settled, _TOGETHER
        )

    async def load(self) -> None:
        """Makes the ledger of what the database has. Raises ProblemError 503."""
        now = self._clock()
        grants = await self._database.run(open_grants)
        periods = {period_of(moment, "day") for moment in (now, *(g.created_at for g in grants))}
        periods |= {period[:7] for period in periods}
        used = await self._database.run(lambda c: used_in(c, sorted(periods)))
        self.ledger.load(grants, used)

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
            await self._keep(fresh)
        return answers

    async def settle_each(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Keeps settlements for good; returns for each whether it was its job's first.

        Raises ProblemError 503 when they cannot be kept; to repeat all of them is harmless.
        """
        return await self._settled.put(list(settlements)) if settlements else []

    async def renew(
        self, lease_ids: Sequence[str], allowance_of: Callable[[str], Allowance]
    ) -> list[str]:
        """Renews leases; returns those that hold no slot."""
        kept, lost = self.ledger.renew(lease_ids, allowance_of, self._clock())
        if kept:
            until = [(grant.id, grant.lease_until) for grant in kept]
            await self._database.run(lambda c: keep_renewals(c, until))
        return lost

    async def acquire(
        self, leases: Mapping[str, str], node: str, allowance_of: Callable[[str], Allowance]
    ) -> list[str]:
        """Takes slots for running jobs, lease id -> user id; returns leases without one."""
        lost = await self.renew(list(leases), allowance_of)
        refused: list[str] = []
        for lease_id in lost:
            user_id = leases[lease_id]
            if not await self._acquire(lease_id, user_id, node, allowance_of(user_id)):
                refused.append(lease_id)
        return refused

    async def prune(self) -> None:
        """Forgets grants whose settlement never came. Raises ProblemError 503."""
        gone = [grant.id for grant in self.ledger.expire(self._clock())]
        if gone:
            await self._database.run(lambda c: drop_grants(c, gone))

    async def _acquire(self, lease_id: str, user_id: str, node: str, allowance: Allowance) -> bool:
        grant = self.ledger.acquire(lease_id, user_id, node, allowance, self._clock())
        if grant is None:
            return False
        await self._keep([grant])
        return True

    def _admit(self, asked: Asked, now: float) -> Admission | ProblemError:
        try:
            return self.ledger.admit(
                asked.allowance, asked.grant, asked.prompt_tokens, asked.max_tokens, now
            )
        except ProblemError as refusal:
            return refusal

    async def _keep(self, fresh: list[OpenGrant]) -> None:
        try:
            await self._fresh.put(fresh)
        except Exception:
            # Not when cancelled: then they are kept all the same, and free themselves.
            for grant in fresh:
                self.ledger.undo(grant)
            raise

    async def _keep_fresh(self, entries: list[list[OpenGrant]]) -> list[None]:
        # As they are now: the thread must not see what changes meanwhile.
        rows = [msgspec.structs.replace(grant) for fresh in entries for grant in fresh]
        await self._database.run(lambda c: add_grants(c, rows))
        return [None] * len(entries)

    async def _keep_settled(self, entries: list[list[Settlement]]) -> list[list[bool]]:
        settlements = [settlement for entry in entries for settlement in entry]
        firsts = iter(await self._write(settlements))
        return [[next(firsts) for _ in entry] for entry in entries]

    async def _write(self, settlements: Sequence[Settlement]) -> list[bool]:
        now = self._clock()
        batch, open_grants_of = [], []
        for settlement in settlements:
            grant = self.ledger.grant_of(
                settlement.user_id, settlement.grant_id, settlement.lease_id
            )
            open_grants_of.append(grant)
            # A broker's clock may be ahead: what is used is never counted in the future.
            granted_at = grant.created_at if grant else min(settlement.created_at, now)
            batch.append(
                Settled(
                    settlement=settlement,
                    granted_at=granted_at,
                    grant_id=grant.id if grant else None,
                )
            )
        firsts = await self._database.run(lambda c: self._settle(c, batch, now), durable=True)
        again = set()
        for entry, grant, first in zip(batch, open_grants_of, firsts, strict=True):
            user_id = entry.settlement.user_id
            if first or (grant is not None and self.ledger.is_open(grant)):
                used = used_tokens(entry.settlement)
                self.ledger.settled(user_id, grant, entry.granted_at, used)
            else:
                again.add(user_id)
        if again:
            await self._look_up(again, now)
        return firsts

    def _settle(self, connection: Connection, batch: Sequence[Settled], now: float) -> list[bool]:
        firsts = settle(connection, batch, now)
        for entry, first in zip(batch, firsts, strict=True):
            if first:
                self._also_keep(connection, entry.settlement, now)
        return firsts

    async def _look_up(self, user_ids: set[str], now: float) -> None:
        """A repeated settlement may be one whose commit was not heard of: its sums are in
        the database and not in the ledger."""
        periods = [period_of(now, span) for span in SPANS]
        users = sorted(user_ids)
        self.ledger.load((), await self._database.run(lambda c: used_in(c, periods, users)))
