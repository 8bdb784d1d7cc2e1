"""What a snapshot offers to whom."""

from __future__ import annotations

import msgspec
import pytest

from contracts.policy import PolicySnapshot, TierLimits
from stream_broker.offers import find_model, may_use, offered, tier_limits, tokens_most
from tests.stream_broker.building import policy

SMALL, BIG = policy().models


def snapshot(**changes: object) -> PolicySnapshot:
    members = {"aliases": {"default": "small", "best": "big", "lost": "gone"}} | changes
    return policy(**members)


def test_a_model_has_its_name_and_its_aliases() -> None:
    assert find_model(snapshot(), "small") is not None
    assert find_model(snapshot(), "best") == BIG
    assert find_model(snapshot(), "lost") is None
    assert find_model(snapshot(), "none") is None


def test_a_tier_is_offered_what_it_may_use_under_every_name() -> None:
    assert offered(snapshot(), "free") == {"small": SMALL, "default": SMALL}
    assert list(offered(snapshot(), "paid")) == ["small", "big", "default", "best"]


def test_who_is_of_no_tier_of_the_policy_counts_as_the_default_one() -> None:
    tiers = {"paid": TierLimits(max_tokens=9), "low": TierLimits(max_tokens=3)}
    known = snapshot(tiers=tiers, default_tier="paid")
    assert may_use(known, BIG, "stranger")
    assert not may_use(known, BIG, "low")
    assert tier_limits(known, "stranger").max_tokens == 9
    assert tier_limits(snapshot(tiers=tiers), "stranger") == TierLimits()


@pytest.mark.parametrize(
    ("model_most", "tier_most", "most"),
    [(None, None, 4096), (100, None, 100), (100, 50, 50), (None, 9999, 4096)],
)
def test_the_smallest_limit_of_tokens_holds(
    model_most: int | None, tier_most: int | None, most: int
) -> None:
    model = msgspec.structs.replace(SMALL, max_tokens=model_most)
    known = snapshot(tiers={"free": TierLimits(max_tokens=tier_most)})
    assert tokens_most(known, model, "free") == most
