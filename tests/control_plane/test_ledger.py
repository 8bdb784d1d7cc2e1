"""The rules of slots and quotas, without a database."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from contracts.problems import ProblemError
from control_plane.allowance import Allowance
from control_plane.holdings import Admission, OpenGrant
from control_plane.ledger import Ledger
from tests.control_plane.test_allowance import unix

NOW = unix("2026-11-21T12:00:00")
DAY, MONTH = "2026-11-21", "2026-11"
NUMBERS = count()
FREE = Allowance()


def fresh(user: str = "u", **changes: Any) -> OpenGrant:
    number = next(NUMBERS)
    fields: dict[str, Any] = {
        "id": f"g{number}",
        "lease_id": f"l{number}",
        "user_id": user,
        "node": "n03w0",
        "model": "small",
        "tokens": 0,
        "created_at": 0.0,
        "lease_until": 0.0,
        "reserved_until": 0.0,
    }
    return OpenGrant(**(fields | changes))


class Desk:
    """A ledger, and a clock that a test sets."""

    def __init__(self, **limits: int) -> None:
        self.ledger = Ledger(lease_ttl=30.0, reserved_s=630.0)
        self.allowance = Allowance(**limits)
        self.now = NOW

    def admit(self, user: str = "u", prompt: int = 10, most: int = 90) -> Admission:
        return self.ledger.admit(self.allowance, fresh(user), prompt, most, self.now)

    def renew(self, *leases: str) -> list[str]:
        return self.ledger.renew(leases, lambda _: self.allowance, self.now)[1]

    def acquire(self, lease: str, user: str = "u") -> OpenGrant | None:
        return self.ledger.acquire(lease, user, "n", self.allowance, self.now)

    def settle(self, grant: OpenGrant, tokens: int) -> None:
        self.ledger.close(grant)
        self.ledger.add(grant.user_id, grant.created_at, tokens)

    def taken(self, user: str = "u") -> tuple[int, int, int, int]:
        """Requests and tokens of the day, then of the month."""
        taken = self.ledger.taken
        return (
            *(taken(user, "requests", "day", self.now), taken(user, "tokens", "day", self.now)),
            *(taken(user, "requests", "month", self.now), taken(user, "tokens", "month", self.now)),
        )

    def refused(self, **asked: Any) -> dict[str, str]:
        with pytest.raises(ProblemError) as caught:
            self.admit(**asked)
        return {"code": caught.value.code} | caught.value.headers()


def test_a_slot_is_free_one_ttl_after_its_last_renewal() -> None:
    desk = Desk(streams=1)
    lease = desk.admit().grant.lease_id
    desk.now += 29.9
    assert desk.refused()["code"] == "too_many_streams"
    assert desk.renew(lease) == []
    desk.now += 29.9
    assert desk.refused()["code"] == "too_many_streams"
    desk.now += 0.1
    desk.admit()
    assert desk.ledger.live_streams("u", desk.now) == 1


def test_what_is_said_to_have_ended_holds_no_slot_and_keeps_its_tokens() -> None:
    desk = Desk(streams=1, tokens_day=1000)
    mine = desk.admit()
    other = desk.admit("v")
    desk.ledger.end("u", [mine.grant.lease_id, other.grant.lease_id, "unknown"], desk.now)
    assert (desk.ledger.live_streams("u", desk.now), desk.ledger.live_streams("v", desk.now)) == (
        0,
        1,
    )
    assert desk.taken()[1] == 100
    desk.admit()
    with pytest.raises(ProblemError, match="1 stream"):
        desk.admit()
    desk.settle(mine.grant, 7)
    assert desk.taken()[1] == 107


def test_an_expired_lease_comes_back_only_while_a_slot_is_free() -> None:
    desk = Desk(streams=3)
    first, second = (desk.admit().grant.lease_id for _ in range(2))
    desk.now += 30
    for _ in range(2):
        desk.admit()
    assert desk.renew(first, second, "nobody", "nobody") == [second, "nobody"]


def test_a_lease_that_is_not_known_takes_a_slot_if_its_user_has_one() -> None:
    desk = Desk(streams=3)
    for _ in range(2):
        desk.admit()
    found = desk.acquire("x")
    assert found is not None
    assert desk.acquire("y") is None
    assert desk.acquire("z", "v") is not None
    assert desk.renew("x", "y") == ["y"]
    assert desk.taken() == (2, 200, 2, 200)
    desk.settle(found, 7)
    assert desk.taken() == (3, 207, 3, 207)


def test_a_lease_that_is_known_is_never_taken_twice() -> None:
    desk = Desk(streams=1)
    lost = desk.admit().grant
    desk.now += 31
    other = desk.admit().grant
    assert desk.renew(lost.lease_id) == [lost.lease_id]
    desk.ledger.close(other)
    assert desk.acquire(lost.lease_id) is None
    assert desk.renew(lost.lease_id) == []
    assert desk.ledger.live_streams("u", desk.now) == 1


def test_nobody_is_refused_for_what_somebody_else_holds() -> None:
    desk = Desk(streams=1, tokens_day=100)
    desk.admit("u")
    desk.refused(user="u")
    assert desk.admit("v").max_tokens == 90


def test_max_tokens_shrinks_to_what_is_left_and_then_no_further() -> None:
    desk = Desk(tokens_day=150)
    first = desk.admit(prompt=10, most=90)
    assert (first.max_tokens, first.limited, first.grant.tokens) == (90, False, 100)
    second = desk.admit(prompt=49, most=90)
    assert (second.max_tokens, second.limited, second.grant.tokens) == (1, True, 50)
    assert desk.refused(prompt=0, most=1)["RateLimit"].startswith('"tokens-day";r=0')
    desk.settle(second.grant, 20)
    third = desk.admit(prompt=0, most=90)
    assert (third.max_tokens, third.limited) == (30, True)


def test_a_prompt_that_leaves_no_token_is_refused_and_takes_nothing() -> None:
    desk = Desk(tokens_month=100)
    told = desk.refused(prompt=100, most=1)
    assert told["code"] == "quota_exceeded"
    assert told["RateLimit"].startswith('"tokens-month";r=100')
    assert desk.taken() == (0, 0, 0, 0)
    assert desk.admit(prompt=99, most=5).max_tokens == 1


def test_exactly_what_is_left_is_no_limit() -> None:
    desk = Desk(tokens_day=100)
    assert desk.admit(prompt=10, most=90).limited is False


def test_requests_are_counted_from_their_grant_on() -> None:
    desk = Desk(requests_day=2)
    first = desk.admit().grant
    desk.admit()
    assert desk.refused()["RateLimit"].startswith('"requests-day";r=0')
    desk.settle(first, 1)
    desk.refused()


def test_the_scarcest_quota_decides_and_of_two_the_one_that_ends_later_is_told() -> None:
    desk = Desk(tokens_day=60, tokens_month=50)
    assert desk.admit(prompt=10, most=90).max_tokens == 40
    desk = Desk(tokens_day=50, tokens_month=100)
    assert desk.admit(prompt=10, most=90).max_tokens == 40
    assert '"tokens-day"' in desk.refused()["RateLimit"]
    desk = Desk(tokens_day=0, tokens_month=0)
    assert '"tokens-month"' in desk.refused()["RateLimit"]
    desk = Desk(requests_day=0, tokens_month=0)
    assert '"tokens-month"' in desk.refused()["RateLimit"]


def test_a_job_counts_for_the_day_and_month_of_its_grant() -> None:
    desk = Desk(tokens_day=200, tokens_month=300)
    desk.now = unix("2026-11-30T23:59:50")
    over = desk.admit(prompt=10, most=90).grant
    desk.now += 20
    assert desk.taken() == (0, 0, 0, 0)
    assert desk.admit(prompt=10, most=190).max_tokens == 190
    desk.settle(over, 80)
    assert desk.taken() == (1, 200, 1, 200)
    desk.now = unix("2026-11-30T23:59:59")
    assert desk.taken() == (1, 80, 1, 80)


def test_a_new_day_gives_a_day_quota_but_no_month_quota() -> None:
    desk = Desk(tokens_day=100, tokens_month=150)
    desk.settle(desk.admit(prompt=10, most=90).grant, 100)
    desk.refused()
    desk.now += 86_400
    assert desk.admit(prompt=10, most=90).max_tokens == 40


def test_what_is_set_aside_is_free_again_when_no_settlement_ever_comes() -> None:
    desk = Desk(tokens_day=100)
    lost = desk.admit().grant
    desk.now += 629
    assert desk.ledger.expire(desk.now) == []
    desk.refused()
    desk.now += 1
    assert desk.ledger.expire(desk.now) == [lost]
    assert desk.taken() == (0, 0, 0, 0)
    assert desk.renew(lost.lease_id) == [lost.lease_id]
    assert not desk.ledger.holds(lost.id, lost.lease_id)
    desk.settle(lost, 5)
    assert desk.taken() == (1, 5, 1, 5)


def test_what_is_renewed_is_never_given_up() -> None:
    desk = Desk(tokens_day=100)
    running = desk.admit().grant
    desk.now += 3600
    assert desk.renew(running.lease_id) == []
    assert desk.ledger.expire(desk.now) == []
    desk.now += 30
    assert desk.ledger.expire(desk.now) == [running]


def test_a_grant_that_was_not_kept_never_was() -> None:
    desk = Desk(streams=1, tokens_day=100)
    grant = desk.admit().grant
    for _ in range(2):
        desk.ledger.undo(grant)
    assert desk.taken() == (0, 0, 0, 0)
    assert desk.admit().max_tokens == 90


def test_periods_that_are_over_are_forgotten_but_not_at_once() -> None:
    desk = Desk()
    desk.settle(desk.admit().grant, 5)
    late = desk.admit("v").grant
    desk.now += 86_399
    desk.ledger.expire(desk.now)
    back = desk.now, NOW
    desk.now = back[1]
    assert desk.taken() == (1, 5, 1, 5)
    desk.now = back[0] + 86_400
    desk.ledger.expire(desk.now)
    desk.now = NOW
    assert desk.taken()[:2] == (0, 0)
    assert desk.taken("v")[:2] == (0, 0)
    desk.settle(late, 1)


def test_a_clock_that_is_set_back_holds_nothing_longer() -> None:
    desk = Desk(streams=1, tokens_day=100)
    desk.now += 7200
    desk.ledger.expire(desk.now)
    desk.admit()
    desk.now -= 3600
    desk.ledger.expire(desk.now)
    desk.refused()
    desk.now += 30
    desk.refused()  # the slot is free, the tokens are not
    desk.now += 600
    desk.ledger.expire(desk.now)
    assert desk.admit().max_tokens == 90


def test_a_ledger_is_made_of_what_the_database_has() -> None:
    desk = Desk(streams=2, tokens_day=200)
    held = fresh(tokens=50, created_at=NOW - 5, lease_until=NOW + 25, reserved_until=NOW + 625)
    ahead = fresh("v", tokens=1, created_at=NOW, lease_until=NOW + 9e9, reserved_until=NOW + 9e9)
    used = [("u", DAY, 3, 100), ("u", MONTH, 9, 900)]
    desk.ledger.load([ahead, held], used, NOW)
    assert desk.taken() == (4, 150, 10, 950)
    assert desk.admit(prompt=10).max_tokens == 40
    assert desk.ledger.grant_of("u", held.id, "") is held
    assert desk.ledger.grant_of("u", "", held.lease_id) is held
    assert desk.ledger.grant_of("v", "", "") is None
    assert (ahead.lease_until, ahead.reserved_until) == (NOW + 30, NOW + 630)


def test_streams_of_all_are_counted() -> None:
    desk = Desk()
    for user in ("u", "u", "v"):
        desk.admit(user)
    assert desk.ledger.all_live_streams(desk.now) == 3
    assert desk.ledger.all_live_streams(desk.now + 30) == 0
    assert desk.ledger.live_streams("nobody", desk.now) == 0
