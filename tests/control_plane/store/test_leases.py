"""Leases and reservations in the store: never too many, never a leak."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from control_plane.leases import LeaseRule
from control_plane.store.leases import (
    acquire_leases,
    all_live_leases,
    free_lease,
    live_leases,
    prune,
    release,
    renew_leases,
    reserve,
    reserved_tokens,
    take_lease,
)
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from contracts.problems import ProblemError
from tests.control_plane.harness import NOW
from tests.control_plane.store.conftest import fresh

RULE = LeaseRule(limit=3, ttl_s=30.0)
USERS = st.sampled_from(["u", "v"])


class Slots(RuleBasedStateMachine):
    """Any order of taking, renewing, freeing, dying and time, against a model in a dict."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.connection = fresh()
        self.now = NOW
        self.expiry: dict[str, float] = {}
        self.owner: dict[str, str] = {}

    def live(self, user: str) -> int:
        return sum(
            self.owner[lease] == user and expiry > self.now for lease, expiry in self.expiry.items()
        )

    @rule(target=leases, user=USERS)
    def take(self, user: str) -> object:
        if self.live(user) >= RULE.limit:
            with pytest.raises(ProblemError, match="too_many_streams"):
                take_lease(self.connection, user, "n03w0", RULE, self.now)
            return multiple()
        lease = take_lease(self.connection, user, "n03w0", RULE, self.now)
        self.owner[lease], self.expiry[lease] = user, self.now + RULE.ttl_s
        return lease

    @rule(ids=st.lists(leases, max_size=8))
    def renew(self, ids: list[str]) -> None:
        unknown = renew_leases(self.connection, ids, RULE, self.now)
        for lease in dict.fromkeys(ids):
            if lease in unknown:
                # It was settled, or it had expired and every slot was somebody else's.
                assert self.expiry.get(lease, 0) <= self.now
            else:
                self.expiry[lease] = self.now + RULE.ttl_s

    @rule(target=leases, lost=st.dictionaries(st.sampled_from(["l1", "l2", "l3"]), USERS))
    def acquire(self, lost: dict[str, str]) -> object:
        lost = {lease: self.owner.get(lease, user) for lease, user in lost.items()}
        refused = acquire_leases(self.connection, lost, "n03w0", RULE, self.now)
        for lease in refused:
            assert self.expiry.get(lease, 0) <= self.now
        got = [lease for lease in lost if lease not in refused]
        for lease in got:
            self.owner[lease], self.expiry[lease] = lost[lease], self.now + RULE.ttl_s
        return multiple(*got)

    @rule(lease=consumes(leases))
    def settle(self, lease: str) -> None:
        free_lease(self.connection, lease)
        self.expiry.pop(lease, None)

    @rule(seconds=st.floats(0, 70))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def forget(self) -> None:
        prune(self.connection, longest_job_s=60.0, now=self.now)
        self.expiry = {
            lease: expiry for lease, expiry in self.expiry.items() if expiry >= self.now - 60.0
        }

    @invariant()
    def never_more_than_the_limit(self) -> None:
        for user in ("u", "v"):
            live = live_leases(self.connection, user, self.now)
            assert live == self.live(user)
            assert live <= RULE.limit

    @invariant()
    def a_crash_frees_every_slot_after_the_ttl(self) -> None:
        assert all_live_leases(self.connection, self.now + RULE.ttl_s) == 0

    def teardown(self) -> None:
        self.connection.close()


TestSlots = Slots.TestCase


def test_an_expired_lease_comes_back_only_while_a_slot_is_free() -> None:
    with closing(fresh()) as connection:
        first = take_lease(connection, "u", "n", RULE, NOW)
        second = take_lease(connection, "u", "n", RULE, NOW)
        later = NOW + 30
        for _ in range(2):
            take_lease(connection, "u", "n", RULE, later)
        assert renew_leases(connection, [first, second], RULE, later) == [second]


def test_a_lease_nobody_knows_takes_a_slot_if_its_user_has_one(
    connection: sqlite3.Connection,
) -> None:
    for _ in range(2):
        take_lease(connection, "u", "n", RULE, NOW)
    lost = {"x": "u", "y": "u", "z": "nobody"}
    assert acquire_leases(connection, lost, "n", RULE, NOW) == ["y", "z"]
    assert renew_leases(connection, ["x", "y"], RULE, NOW) == ["y"]
    assert acquire_leases(connection, {"x": "u"}, "n", RULE, NOW + 1) == []
    assert live_leases(connection, "u", NOW + 1) == 3


def test_a_user_is_never_refused_for_anothers_streams(connection: sqlite3.Connection) -> None:
    for _ in range(3):
        take_lease(connection, "u", "n", RULE, NOW)
    with pytest.raises(ProblemError):
        take_lease(connection, "u", "n", RULE, NOW)
    take_lease(connection, "v", "n", RULE, NOW)


def test_a_reservation_ends_with_its_release_or_by_itself(connection: sqlite3.Connection) -> None:
    reserve(connection, "g1", "u", 100, NOW + 630, NOW)
    reserve(connection, "g2", "u", 50, NOW + 630, NOW)
    assert reserved_tokens(connection, "u", NOW) == 150
    release(connection, "g1")
    release(connection, "g1")
    assert reserved_tokens(connection, "u", NOW) == 50
    assert reserved_tokens(connection, "v", NOW) == 0
    assert reserved_tokens(connection, "u", NOW + 630) == 0
    prune(connection, 600, NOW + 631)
    assert connection.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
