"""The usage log: every job once."""

from __future__ import annotations

import sqlite3

from control_plane.leases import LeaseRule
from control_plane.store.leases import live_leases, reserve, reserved_tokens, take_lease
from hypothesis import given
from hypothesis import strategies as st

from control_plane.store.usage import settle, usage_by_model
from tests.control_plane.harness import NOW, settled
from tests.control_plane.store.conftest import fresh


def test_the_first_settlement_counts_and_any_frees(connection: sqlite3.Connection) -> None:
    for first in (True, False):
        lease = take_lease(connection, "u", "n", LeaseRule(1, 30), NOW)
        reserve(connection, "g", "u", 10, NOW + 630, NOW)
        job = settled(user_id="u", lease_id=lease, grant_id="g")
        assert settle(connection, job, NOW) is first
        assert live_leases(connection, "u", NOW) == 0
        assert reserved_tokens(connection, "u", NOW) == 0
    assert usage_by_model(connection, "u")[0].requests == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=30))
def test_the_sum_is_that_of_the_first_settlement_of_each_job(jobs: list[tuple[int, int]]) -> None:
    connection = fresh()
    expected: dict[int, int] = {}
    for job, tokens in jobs:
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "cached_tokens": 0}
        settle(connection, settled(job_id=str(job), user_id="u", usage=usage), NOW)
        expected.setdefault(job, tokens)
    total = sum(model.completion_tokens for model in usage_by_model(connection, "u"))
    connection.close()
    assert total == sum(expected.values())
