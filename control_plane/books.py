"""The ledger with the database behind it: nobody is told what is not kept yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from contracts.grants import Settlement
from control_plane.allowance import SPANS, Allowance, period_of
from control_plane.gathered import Gathered
from control_plane.ledger import Admission, Ledger, OpenGrant
from control_plane.store.database import Database
from control_plane.store.grants import add_grants, drop_grants, keep_renewals, open_grants
from control_plane.store.keeping import Keep, keep_nothing
from control_plane.store.usage import Settled, settle, used_in, used_tokens

# What is written in one statement at most: bounds how long one caller waits for others.
_TOGETHER: Final = 128


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
        self._keep = keep
        self._fresh: Gathered[OpenGrant, None] = Gathered(self._keep_fresh, _TOGETHER)
        self._settled: Gathered[Settlement, bool] = Gathered(self._keep_settled, _TOGETHER)

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

    async def open(
        self, allowance: Allowance, grant: OpenGrant, prompt_tokens: int, max_tokens: int
    ) -> Admission:
        """See `Ledger.admit`. Raises ProblemError, also 503 when it cannot be kept."""
        admission = self.ledger.admit(allowance, grant, prompt_tokens, max_tokens, self._clock())
        try:
            await self._fresh.put(grant)
        except Exception:
            # Not when cancelled: then it is kept all the same, and frees itself.
            self.ledger.undo(grant)
            raise
        return admission

    async def settle(self, settlement: Settlement) -> bool:
        """Keeps a settlement for good; returns whether it was the job's first.

        Raises ProblemError 503 when it cannot be kept.
        """
        return await self._settled.put(settlement)

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
        try:
            await self._fresh.put(grant)
        except Exception:
            # Not when cancelled: then it is kept all the same, and frees itself.
            self.ledger.undo(grant)
            raise
        return True

    async def _keep_fresh(self, grants: list[OpenGrant]) -> list[None]:
        # As they are now: the thread must not see what changes meanwhile.
        rows = [msgspec.structs.replace(grant) for grant in grants]
        await self._database.run(lambda c: add_grants(c, rows))
        return [None] * len(grants)

    async def _keep_settled(self, settlements: list[Settlement]) -> list[bool]:
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
        firsts = await self._database.run(lambda c: self._write(c, batch, now), durable=True)
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

    def _write(self, connection: Connection, batch: Sequence[Settled], now: float) -> list[bool]:
        firsts = settle(connection, batch, now)
        for entry, first in zip(batch, firsts, strict=True):
            if first:
                self._keep(connection, entry.settlement, now)
        return firsts

    async def _look_up(self, user_ids: set[str], now: float) -> None:
        """A repeated settlement may be one whose commit was not heard of: its sums are in
        the database and not in the ledger."""
        periods = [period_of(now, span) for span in SPANS]
        users = sorted(user_ids)
        self.ledger.load((), await self._database.run(lambda c: used_in(c, periods, users)))
