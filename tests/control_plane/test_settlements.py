"""What a settlement must look like."""

from __future__ import annotations

import pytest

from contracts.problems import ProblemError
from control_plane.settlements import check_settlement
from tests.control_plane.harness import NOW, settled


def test_clocks_of_two_brokers_and_missing_engines_are_believed() -> None:
    check_settlement(settled(ended_at=NOW - 1, engine="", node="", grant_id="", lease_id=""))


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_tokens"])
@pytest.mark.parametrize("value", [-1, 2**31 + 1])
def test_counts_have_bounds(name: str, value: int) -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
    with pytest.raises(ProblemError) as caught:
        check_settlement(settled(usage=usage | {name: value}))
    assert caught.value.field == f"usage.{name}"


@pytest.mark.parametrize("name", ["job_id", "user_id"])
def test_job_and_user_are_needed(name: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_settlement(settled(**{name: ""}))
    assert caught.value.field == name
