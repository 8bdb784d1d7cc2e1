from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.grants import Grant, GrantQuestion, JobKind
from contracts.policy import PolicyModel, TierLimits
from contracts.problems import ProblemError
from stream_broker.degraded import LEASE_PREFIX, grant_alone
from tests.stream_broker.building import OTHER_TARGET, TARGET, USER, policy


def ask(tier: str = "free", kind: JobKind = "job", running: int = 0, **changes: Any) -> Grant:
    members = {"model": "small", "prompt_tokens_estimate": 10} | changes
    return grant_alone(
        policy(),
        GrantQuestion(kind=kind, **members),
        user_id=USER,
        tier=tier,
        grant_id="g",
        until=7.0,
        running=running,
    )


def test_the_first_engine_is_asked_and_the_others_stand_by() -> None:
    granted = ask()
    assert (granted.engine, granted.fallbacks) == (TARGET, [OTHER_TARGET])
    assert (granted.user_id, granted.degraded_until) == (USER, 7.0)
    assert granted.lease.id.startswith(LEASE_PREFIX)


@pytest.mark.parametrize(("asked", "given"), [(None, 512), (5, 5), (9999, 4096)])
def test_tokens_are_bounded_by_the_policy(asked: int | None, given: int) -> None:
    granted = ask(max_tokens=asked)
    assert granted.limits.max_tokens == given
    assert granted.reservation.tokens == given + 10


@pytest.mark.parametrize(
    ("kind", "grace"), [("job", None), ("ws", None), ("chat", 30.0), ("chat_completion", 30.0)]
)
def test_the_grace_is_that_of_the_kind(kind: JobKind, grace: float | None) -> None:
    assert ask(kind=kind).limits.detach_grace_s == grace


@pytest.mark.parametrize(
    ("model", "tier", "code"),
    [("none", "free", "unknown_model"), ("big", "free", "model_not_allowed")],
)
def test_what_the_policy_does_not_allow_is_refused(model: str, tier: str, code: str) -> None:
    with pytest.raises(ProblemError) as refused:
        ask(tier, model=model)
    assert refused.value.code == code


def test_a_tier_that_is_named_is_allowed() -> None:
    assert ask("paid", model="big").engine == OTHER_TARGET


def test_a_model_without_engine_is_refused() -> None:
    empty = policy(models=[PolicyModel(id="small", engines=[], context=1, created=1)])
    question = GrantQuestion(model="small", kind="job", prompt_tokens_estimate=1)
    with pytest.raises(ProblemError) as refused:
        grant_alone(empty, question, user_id=USER, tier="free", grant_id="g", until=1.0, running=0)
    assert refused.value.code == "no_engine"


def test_a_user_has_as_many_streams_here_as_anywhere() -> None:
    assert ask(running=4).limits.max_tokens == 512
    with pytest.raises(ProblemError) as refused:
        ask(running=5)
    assert refused.value.code == "too_many_streams"


def alone(**changes: Any) -> Grant:
    """The grant by a policy with an alias and a tier's limits; `changes` are the question's."""
    model = msgspec.structs.replace(policy().models[0], pacing="off", max_tokens=300)
    known = policy(
        models=[model],
        aliases={"default": "small"},
        tiers={"free": TierLimits(max_tokens=100, streams=2)},
        pacing={"mode": "smooth", "hold_max_ms": 100},
    )
    tier, running = changes.pop("tier", "free"), changes.pop("running", 0)
    asked = {"model": "default", "kind": "job", "prompt_tokens_estimate": 10} | changes
    return grant_alone(
        known,
        GrantQuestion(**asked),
        user_id=USER,
        tier=tier,
        grant_id="g",
        until=7.0,
        running=running,
    )


def test_an_alias_is_granted_with_the_engines_own_name() -> None:
    granted = alone()
    assert granted.engine == TARGET
    assert granted.pacing == {"mode": "off", "hold_max_ms": 100}
    with pytest.raises(ProblemError, match="unknown_model"):
        alone(model="none")


@pytest.mark.parametrize(
    ("tier", "asked", "given", "told"),
    [
        ("free", None, 100, []),
        ("free", 100, 100, []),
        ("free", 200, 100, ["limited"]),
        ("paid", 301, 300, ["limited"]),
    ],
)
def test_limits_of_model_and_tier_hold_and_are_told(
    tier: str, asked: int | None, given: int, told: list[str]
) -> None:
    granted = alone(tier=tier, max_tokens=asked)
    assert granted.limits.max_tokens == given
    assert [notice.code for notice in granted.notices] == told


def test_a_tier_has_streams_of_its_own() -> None:
    assert alone(running=1)
    with pytest.raises(ProblemError, match="At most 2 streams"):
        alone(running=2)
    assert alone(tier="paid", running=4)
