"""Who may come in, from rows in memory."""

from __future__ import annotations

import pytest

from contracts.policy import KeyEntry, SessionClaims, hash_key
from contracts.problems import ProblemError
from control_plane.allowance import Allowance
from control_plane.auth import KeyProof
from control_plane.roster import Roster, Rows
from control_plane.store.users import User
from tests.control_plane.harness import API_KEY, NOW

HASH = hash_key(API_KEY)


def user(disabled_at: float | None = None, **limits: int) -> User:
    return User(
        id="u",
        name="u",
        tier="gold",
        created_at=NOW,
        disabled_at=disabled_at,
        has_password=False,
        allowance=Allowance(**limits),
    )


def roster(
    *, of: User | None = None, expires_at: float | None = None, revoked: str | None = None
) -> Roster:
    entry = KeyEntry(user_id="u", tier="gold", scopes=["generate"], expires_at=expires_at)
    made = Roster(streams=5)
    made.load(
        Rows(
            users={"u": of or user()},
            keys={HASH: ("key_1", entry)},
            revoked=frozenset({revoked} if revoked else ()),
        )
    )
    return made


def claims(sub: str = "u") -> SessionClaims:
    return SessionClaims(
        sub=sub, tier="old", scopes=["generate"], jti="one", iat=NOW, exp=NOW + 100
    )


def test_a_key_proves_its_user_until_it_expires() -> None:
    found = roster(expires_at=NOW + 10).identify(KeyProof(HASH), NOW)
    assert (found.user_id, found.tier, found.proof_id) == ("u", "gold", "key_1")
    with pytest.raises(ProblemError, match="unauthenticated"):
        roster(expires_at=NOW).identify(KeyProof(HASH), NOW)
    with pytest.raises(ProblemError, match="unauthenticated"):
        roster().identify(KeyProof(hash_key("other")), NOW)


def test_the_tier_is_that_of_the_user_now_not_that_of_the_token() -> None:
    assert roster().identify(claims(), NOW).tier == "gold"


@pytest.mark.parametrize(
    ("made", "who"),
    [
        (roster(), "ghost"),
        (roster(revoked="one"), "u"),
        (roster(of=user(disabled_at=NOW)), "u"),
    ],
)
def test_a_token_that_was_taken_back_proves_nothing(made: Roster, who: str) -> None:
    with pytest.raises(ProblemError, match="unauthenticated"):
        made.identify(claims(who), NOW)


def test_an_expired_key_is_in_no_snapshot() -> None:
    made = roster(expires_at=NOW + 10)
    assert list(made.key_entries(NOW)) == [HASH]
    assert made.key_entries(NOW + 10) == {}


def test_streams_are_limited_also_where_nobody_said_so() -> None:
    assert roster().allowance("u") == Allowance(streams=5)
    assert roster(of=user(streams=0, tokens_day=3)).allowance("u") == Allowance(
        streams=0, tokens_day=3
    )
    assert roster().allowance("ghost") == Allowance(streams=0)
