"""The ledger and the database together: neither holds what the other does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import URL, Connection, insert
from sqlalchemy.exc import IntegrityError

from contracts.problems import ProblemError
from control_plane.allowance import Allowance
from control_plane.books import Books
from control_plane.ledger import Ledger
from control_plane.store.grants import open_grants
from control_plane.store.schema import tiers, users
from tests.control_plane.harness import NOW, Clock, settled
from tests.control_plane.ledger_machine import USERS, Faulty, LedgerMachine, admitted, first_settled
from tests.control_plane.test_ledger import fresh

EXAMPLES = {"sqlite": 60, "postgresql": 10}
FREE = Allowance()


def add_users(connection: Connection) -> None:
    connection.execute(insert(tiers).values(name="standard"))
    connection.execute(
        insert(users),
        [{"id": name, "name": name, "tier": "standard", "created_at": NOW} for name in USERS],
    )


async def opened(url: URL) -> Faulty:
    database = Faulty(url, timeout_s=10.0)
    await database.open(NOW)
    await database.run(add_users)
    return database


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


def test_no_order_of_events_overruns_a_limit_or_leaks(url: URL, runner: asyncio.Runner) -> None:
    database = runner.run(opened(url))
    try:
        run_state_machine_as_test(
            lambda: LedgerMachine(database, runner.run),
            settings=settings(
                max_examples=EXAMPLES[url.get_backend_name()],
                stateful_step_count=40,
                deadline=None,
                # To shrink a failure takes minutes; it is found again by its seed.
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        runner.run(database.close())


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Faulty]:
    database = await opened(url)
    yield database
    await database.close()


@pytest.fixture
async def books(database: Faulty, clock: Clock) -> Books:
    return Books(Ledger(30.0, 630.0), database, clock)


async def kept(database: Faulty) -> list[str]:
    """Lease ids of the grants that are in the database."""
    return [grant.lease_id for grant in await database.run(open_grants)]


async def test_a_bad_grant_does_not_take_the_others_along(books: Books, database: Faulty) -> None:
    wanted = [fresh(user) for user in ("u", "nobody", "v", "u")]
    tried = await asyncio.gather(
        *(admitted(books, FREE, grant, 10, 90) for grant in wanted), return_exceptions=True
    )
    assert [isinstance(answer, IntegrityError) for answer in tried] == [False, True, False, False]
    assert len(await kept(database)) == 3
    assert books.ledger.live_streams("nobody", NOW) == 0


async def test_a_grant_whose_commit_was_not_heard_of_leaves_with_the_pruning(
    books: Books, database: Faulty, clock: Clock
) -> None:
    database.fault = "unheard"
    with pytest.raises(ProblemError):
        await admitted(books, FREE, fresh(), 10, 90)
    assert len(await kept(database)) == 1
    known = fresh()
    await admitted(books, FREE, known, 10, 90)
    clock.now += 30
    await books.prune()
    assert await kept(database) == [known.lease_id]


async def test_one_who_leaves_holds_a_slot_for_one_ttl_and_no_longer(
    books: Books, database: Faulty, clock: Clock
) -> None:
    call = asyncio.create_task(admitted(books, Allowance(streams=1), fresh(), 10, 90))
    await asyncio.sleep(0)
    call.cancel()
    await books.aclose()
    assert books.ledger.live_streams("u", clock.now) == 1
    clock.now += 30
    await admitted(books, Allowance(streams=1), fresh(), 10, 90)


async def test_thousands_of_leases_are_renewed_and_taken_again(
    books: Books, database: Faulty, clock: Clock
) -> None:
    wanted = [fresh() for _ in range(1200)]
    await asyncio.gather(*(admitted(books, FREE, grant, 1, 1) for grant in wanted))
    clock.now += 20
    assert await books.renew([grant.lease_id for grant in wanted], lambda _: FREE) == []
    clock.now += 20
    lost = {f"lost-{number}": "u" for number in range(600)}
    assert await books.acquire(lost, "n", lambda _: Allowance(streams=1500)) == list(lost)[300:]

    after = Books(Ledger(30.0, 630.0), database, clock)
    await after.load()
    assert after.ledger.live_streams("u", clock.now) == 1500
    clock.now += 700
    await after.prune()
    assert await kept(database) == []


async def test_a_lease_is_acquired_again_after_an_answer_that_was_not_heard(
    books: Books, database: Faulty
) -> None:
    database.fault = "unheard"
    with pytest.raises(ProblemError):
        await books.acquire({"x": "u"}, "n", lambda _: FREE)
    assert await books.acquire({"x": "u"}, "n", lambda _: FREE) == []
    assert await kept(database) == ["x"]
    assert books.ledger.live_streams("u", NOW) == 1


async def test_sums_that_were_not_heard_of_are_looked_up_with_the_next_settlement(
    books: Books, database: Faulty
) -> None:
    def taken(user: str) -> int:
        return books.ledger.taken(user, "tokens", "month", NOW)

    database.fault = "unheard"
    with pytest.raises(ProblemError):
        await first_settled(books, settled(job_id="1", user_id="u"))
    assert taken("u") == 0
    assert await first_settled(books, settled(job_id="2", user_id="v"))
    assert (taken("u"), taken("v")) == (15, 15)
    assert not await first_settled(books, settled(job_id="1", user_id="u"))
    assert taken("u") == 15


async def test_a_job_that_moved_counts_once(books: Books) -> None:
    """Its first broker comes back and settles it too, with a lease that was taken again."""
    first = fresh()
    await admitted(books, FREE, first, 10, 90)
    ids: dict[str, Any] = {"grant_id": first.id, "lease_id": first.lease_id, "user_id": "u"}
    assert await first_settled(books, settled(job_id="j", **ids))
    assert await books.acquire({first.lease_id: "u"}, "n", lambda _: FREE) == []
    assert not await first_settled(books, settled(job_id="j", **ids))
    assert books.ledger.taken("u", "tokens", "day", NOW) == 15
    assert books.ledger.live_streams("u", NOW) == 0
