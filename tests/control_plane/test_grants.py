"""Model, engine and limits of a grant."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from contracts.grants import EngineTarget, GrantQuestion
from contracts.problems import ProblemError
from control_plane.grants import limits_for, policy_limits
from control_plane.placing.placement import Candidate, Job, place
from control_plane.rulebook import Rulebook
from inventory.settings import Settings
from tests.control_plane.harness import cluster, rulebook

RULES = rulebook()
MODELS = RULES.policy_models(7)
LIMITS = policy_limits(Settings())
QUESTION = GrantQuestion(model="small", kind="job", prompt_tokens_estimate=1)


def test_a_model_on_several_engines_is_one_model_with_the_smallest_context() -> None:
    small = MODELS[0]
    assert (small.id, small.context, small.created) == ("small", 1024, 7)
    assert [engine.base_url for engine in small.engines] == ["http://a.test:1", "http://b.test:1"]
    assert [model.id for model in MODELS] == ["small", "scores", "other"]


def test_a_model_may_be_for_some_tiers() -> None:
    document = RULES.document
    gold = replace(document.models["small"], tiers=["gold"])
    rules = Rulebook(replace(document, models={"small": gold}), cluster())
    assert rules.model_for("small", "gold") is rules.models["small"]
    with pytest.raises(ProblemError, match="model_not_allowed"):
        rules.model_for("small", "standard")
    with pytest.raises(ProblemError, match="unknown_model"):
        rules.model_for("SMALL", "gold")


def test_without_a_wish_the_default_holds_but_never_above_the_most() -> None:
    assert limits_for(QUESTION, LIMITS).max_tokens == 512
    tight = replace(LIMITS, max_tokens=100)
    assert limits_for(QUESTION, tight).max_tokens == 100


@pytest.mark.parametrize("value", [0, 4097])
def test_a_wish_out_of_range_is_refused_not_bent(value: int) -> None:
    with pytest.raises(ProblemError) as caught:
        limits_for(replace(QUESTION, max_tokens=value), LIMITS)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "max_tokens")


def test_engines_are_tried_in_the_order_of_the_inventory() -> None:
    first, second = MODELS[0].engines

    def engines(up: list[EngineTarget]) -> tuple[EngineTarget, ...]:
        candidates = [
            Candidate(target, target.base_url, rank, "up" if target in up else "down")
            for rank, target in enumerate((first, second))
        ]
        return place("small", Job(), candidates).targets

    assert engines([first, second]) == (first, second)
    assert engines([second]) == (second,)
    with pytest.raises(ProblemError, match="no_engine"):
        engines([])
