"""Any order of grants, settlements, renewals, faults, time and restarts, against a model.

The model is what callers were told: a grant or a settlement counts when its answer came.
The ledger may hold more than that (what was kept but not heard of), never less.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count, starmap
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import astuple
from sqlalchemy import Connection, delete, select

from contracts.grants import Settlement
from contracts.problems import ProblemError
from control_plane.allowance import SPANS, UNITS, Allowance, period_of
from control_plane.books import Asked, Books
from control_plane.holdings import Admission, OpenGrant
from control_plane.ledger import Ledger
from control_plane.store.database import Database, Transaction
from control_plane.store.grants import open_grants
from control_plane.store.schema import grants, settlements, usage
from control_plane.store.statements import Query
from tests.control_plane.harness import settled
from tests.control_plane.test_allowance import unix

USERS = ("u", "v")
ALLOWANCE = Allowance(
    streams=3, tokens_day=500, tokens_month=900, requests_day=8, requests_month=14
)
LEASE_TTL, RESERVED_S = 30.0, 630.0
# A month ends on the next day.
NOW = unix("2026-11-29T20:00:00")

Fault = Literal["refused", "unheard"] | None
FAULTS = st.sampled_from([None, None, None, None, "refused", "unheard"])
USER = st.sampled_from(USERS)


class Faulty(Database):
    """The next call is refused, or done without its answer being heard."""

    fault: Fault = None

    async def run(
        self,
        work: Transaction[Any],
        *,
        durable: bool = False,
        alone: Callable[[], Query[Any]] | None = None,
    ) -> Any:
        fault, self.fault = self.fault, None
        if fault == "refused":
            raise ProblemError("control_plane_unavailable", "refused")
        result = await super().run(work, durable=durable, alone=alone)
        if fault == "unheard":
            raise ProblemError("control_plane_unavailable", "unheard")
        return result


async def admitted(
    books: Books, allowance: Allowance, grant: OpenGrant, prompt: int, most: int
) -> Admission:
    """One alone. Raises ProblemError."""
    (answer,) = await books.open_each([Asked(allowance, grant, prompt, most)])
    if isinstance(answer, ProblemError):
        raise answer
    return answer


async def first_settled(books: Books, settlement: Settlement) -> bool:
    """One alone: whether it was its job's first. Raises ProblemError, or what stands in
    its place."""
    (result,) = await books.settle_each([settlement])
    if isinstance(result, Exception):
        raise result
    return result


class Job:
    """A job as its broker knows it. `reserved` is 0 for one that had no grant."""

    def __init__(self, user: str, at: float, grant_id: str, lease_id: str, reserved: int) -> None:
        self.user, self.at, self.reserved = user, at, reserved
        self.grant_id, self.lease_id = grant_id, lease_id
        self.lease_until = 0.0
        self.used: int | None = None  # by its first settlement, once that is in the database
        self.told = False

    def settlement(self, job_id: str, tokens: int) -> Settlement:
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "cached_tokens": 0}
        return settled(
            job_id=job_id,
            user_id=self.user,
            grant_id=self.grant_id,
            lease_id=self.lease_id,
            usage=usage,
            created_at=self.at,
        )


class LedgerMachine(RuleBasedStateMachine):
    """`database` is open and has the users; `run` runs a coroutine."""

    def __init__(self, database: Faulty, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        super().__init__()
        self.database, self.run = database, run
        self.now = NOW
        self.jobs: list[Job] = []
        self.clean = True
        self.names = count()

    @initialize()
    def begin(self) -> None:
        def empty(connection: Connection) -> None:
            for table in (grants, settlements, usage):
                connection.execute(delete(table))

        self.run(self.database.run(empty))
        self.books = self.rebuilt()

    def rebuilt(self) -> Books:
        """As after a restart."""
        books = Books(Ledger(LEASE_TTL, RESERVED_S), self.database, lambda: self.now)
        self.run(books.load())
        return books

    def attempt(self, call: Coroutine[Any, Any, Any], fault: Fault) -> tuple[bool, Any]:
        """Whether the caller got an answer, and which."""
        self.database.fault = fault
        try:
            return True, self.run(call)
        except ProblemError as problem:
            if problem.status != 503:
                raise
            self.clean = False
            return False, None
        finally:
            self.database.fault = None

    # ---- what brokers do -------------------------------------------------------------------

    @rule(user=USER, asked=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 300)), min_size=1,
          max_size=6), fault=FAULTS)  # fmt: skip
    def admit(self, user: str, asked: list[tuple[int, int]], fault: Fault) -> None:
        """Several at once."""

        async def one(prompt: int, most: int) -> Any:
            name = f"{next(self.names)}"
            grant = OpenGrant(
                id=f"grant-{name}", lease_id=f"lease-{name}", user_id=user, node="n", model="m",
                tokens=0, created_at=0.0, lease_until=0.0, reserved_until=0.0,
            )  # fmt: skip
            return await admitted(self.books, ALLOWANCE, grant, prompt, most)

        async def together() -> list[Any]:
            return await asyncio.gather(*starmap(one, asked), return_exceptions=True)

        _, answers = self.attempt(together(), fault)
        for (prompt, most), answer in zip(asked, answers, strict=True):
            if isinstance(answer, ProblemError):
                # What was undone meanwhile may have been in the way.
                assert fault or self.something_is_short(user, prompt)
                self.clean &= answer.status != 503
                continue
            assert 1 <= answer.max_tokens <= most
            assert answer.limited == (answer.max_tokens < most)
            grant = answer.grant
            assert grant.tokens == prompt + answer.max_tokens
            job = Job(user, self.now, grant.id, grant.lease_id, grant.tokens)
            job.lease_until = self.now + LEASE_TTL
            self.jobs.append(job)
            self.check_quotas(user)

    @rule(data=st.data(), share=st.floats(0, 1), fault=FAULTS)
    def settle(self, data: st.DataObject, share: float, fault: Fault) -> None:
        """Also again, and then with other numbers."""
        if not self.jobs:
            return
        number = data.draw(st.integers(0, len(self.jobs) - 1))
        job = self.jobs[number]
        tokens = int(share * (job.reserved or 40))
        call = first_settled(self.books, job.settlement(f"job-{number}", tokens))
        heard, first = self.attempt(call, fault)
        if heard:
            assert first == (job.used is None)
        job.told |= heard
        if fault != "refused":
            job.lease_until = 0.0
            job.used = tokens if job.used is None else job.used

    @rule(user=USER, age=st.floats(-50, 100_000))
    def end_without_grant(self, user: str, age: float) -> None:
        """A broker that decided alone will settle this one; its clock may be ahead."""
        name = f"degraded-{next(self.names)}"
        job = Job(user, min(self.now, self.now - age), name, name, 0)
        self.jobs.append(job)

    @rule(data=st.data(), again=st.booleans(), fault=FAULTS)
    def renew(self, data: st.DataObject, again: bool, fault: Fault) -> None:
        """`again`: those that hold no slot take one."""
        if not self.jobs:
            return
        drawn = data.draw(st.lists(st.sampled_from(self.jobs), max_size=6))
        # Nobody renews what has ended and is only still to be settled.
        some = [job for job in drawn if job.told or job.used is None]
        leases = {job.lease_id: job.user for job in some}
        if again:
            call = self.books.acquire(leases, "n", lambda _: ALLOWANCE)
        else:
            call = self.books.renew(list(leases), lambda _: ALLOWANCE)
        heard, lost = self.attempt(call, fault)
        for job in some if heard else ():
            if job.lease_id in lost:
                assert job.lease_until <= self.now
            else:
                job.lease_until = self.now + LEASE_TTL

    # ---- what happens to the process -------------------------------------------------------

    @rule(seconds=st.floats(0, 70) | st.sampled_from([600.0, 3600.0, 4 * 3600.0, 86_400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(fault=FAULTS)
    def prune(self, fault: Fault) -> None:
        self.attempt(self.books.prune(), fault)

    @rule()
    def restart(self) -> None:
        before, self.books = self.books, self.rebuilt()
        if self.clean:
            assert self.holdings(before) == self.holdings(self.books)
        self.clean = True

    # ---- what must always be so ------------------------------------------------------------

    @invariant()
    def never_more_than_the_limit_of_streams(self) -> None:
        for user in USERS:
            held = sum(job.user == user and job.lease_until > self.now for job in self.jobs)
            assert held <= 3
            assert held <= self.books.ledger.live_streams(user, self.now)

    def check_quotas(self, user: str) -> None:
        """Right after an admission: what callers were told of is within every quota."""
        for span in SPANS:
            period = period_of(self.now, span)
            mine = [j for j in self.jobs if j.user == user and period_of(j.at, span) == period]
            told = [j for j in mine if j.told]
            held = [j for j in mine if j.reserved and j.used is None]
            held = [j for j in held if j.at + RESERVED_S > self.now]
            tokens = sum(j.reserved for j in held) + sum(j.used or 0 for j in told)
            assert tokens <= (ALLOWANCE.limit("tokens", span) or 0)
            assert len(held) + len(told) <= (ALLOWANCE.limit("requests", span) or 0)

    def something_is_short(self, user: str, prompt: int) -> bool:
        """Whether a refusal can be explained."""
        ledger = self.books.ledger
        if ledger.live_streams(user, self.now) >= 3:
            return True
        for span in SPANS:
            for unit in UNITS:
                limit = ALLOWANCE.limit(unit, span) or 0
                left = limit - ledger.taken(user, unit, span, self.now)
                if left < (1 if unit == "requests" else prompt + 1):
                    return True
        return False

    def holdings(self, books: Books) -> Any:
        """All that a decision rests on."""
        ledger = books.ledger
        taken = {
            (user, unit, span): ledger.taken(user, unit, span, self.now)
            for user in USERS
            for unit in UNITS
            for span in SPANS
        }
        return taken, {lease: astuple(grant) for lease, grant in ledger._by_lease.items()}

    def teardown(self) -> None:
        """Everything is settled, or given up: nothing is set aside, every job counts once."""
        if not hasattr(self, "books"):
            return
        for number, job in enumerate(self.jobs):
            if not job.told and number % 2 == 0:
                self.run(first_settled(self.books, job.settlement(f"job-{number}", 7)))
                job.used = 7 if job.used is None else job.used
        self.now += RESERVED_S
        self.run(self.books.prune())
        assert self.run(self.database.run(open_grants)) == []
        expected = Counter[tuple[str, str]]()
        for job in self.jobs:
            for span in SPANS if job.used is not None else ():
                expected[job.user, period_of(job.at, span)] += job.used or 0
        rows = self.run(self.database.run(lambda c: c.execute(select(usage)).all()))
        assert {(row.user_id, row.period): row.tokens for row in rows} == expected
        assert self.books.ledger.all_live_streams(self.now) == 0
        for user in USERS:
            for span in SPANS:
                taken = self.rebuilt().ledger.taken(user, "tokens", span, self.now)
                assert taken == expected[user, period_of(self.now, span)]
