"""The usage log: every job once, and the sums that go with it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection

from control_plane.store.account_usage import usage_by_model
from control_plane.store.grants import add_grants, open_grants
from control_plane.store.usage import Settled, settle, used_in
from tests.control_plane.harness import NOW, settled
from tests.control_plane.store.test_grants import grant

DAY, MONTH = "2027-01-15", "2027-01"


def entry(job: str, tokens: int = 5, grant_id: str | None = None, **changes: Any) -> Settled:
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "cached_tokens": 2}
    settlement = settled(**({"job_id": job, "user_id": "u", "usage": usage} | changes))
    return Settled(settlement=settlement, granted_at=NOW, grant_id=grant_id)


def test_the_first_settlement_counts_and_any_ends_the_grant(connection: Connection) -> None:
    for first in (True, False):
        add_grants(connection, [asdict(grant("g"))])
        assert settle(connection, [entry("j", 5 if first else 99, "g")], NOW) == [first]
        assert open_grants(connection) == []
    (model,) = usage_by_model(connection, "u")
    assert (model.requests, model.prompt_tokens, model.completion_tokens) == (1, 10, 5)
    assert used_in(connection, [DAY]) == [("u", DAY, 1, 15)]


def test_of_two_in_one_batch_the_first_counts(connection: Connection) -> None:
    batch = [entry("a", 1), entry("b", 2), entry("a", 99), entry("c", 3, user_id="ghost")]
    assert settle(connection, batch, NOW) == [True, True, False, True]
    assert sorted(used_in(connection, [DAY, MONTH])) == [
        ("ghost", MONTH, 1, 13),
        ("ghost", DAY, 1, 13),
        ("u", MONTH, 2, 23),
        ("u", DAY, 2, 23),
    ]
    assert used_in(connection, [DAY], ["ghost"]) == [("ghost", DAY, 1, 13)]


def test_a_batch_may_be_large(connection: Connection) -> None:
    batch = [entry(f"j{number}", 1) for number in range(3000)]
    assert settle(connection, batch, NOW) == [True] * 3000
    assert settle(connection, batch, NOW) == [False] * 3000
    assert used_in(connection, [MONTH]) == [("u", MONTH, 3000, 33_000)]
