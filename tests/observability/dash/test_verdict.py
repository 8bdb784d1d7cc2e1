"""The first sentence names what people feel, and the hop that it comes from."""

from __future__ import annotations

import pytest

from observability.boards.model import Levels
from observability.boards.slo import HOP_BUDGETS
from observability.dash.verdict import Felt, judge, level

HOPS = {hop.name: hop.budget.warn / 2 for hop in HOP_BUDGETS}
WELL = Felt(
    ttft=0.3, jitter=0.02, stalls=0.0, success=1.0, engine_jitter=0.02, engine_stalls=0.0, hops=HOPS
)


def but(**changes: object) -> Felt:
    fields = {name: getattr(WELL, name) for name in WELL.__slots__}
    return Felt(**(fields | changes))


def test_all_is_well() -> None:
    said = judge(WELL)
    assert said.level == "good"
    assert said.text == (
        "People get their tokens soon and evenly: first token after 300 ms (p95), jitter 20 ms."
    )


def test_without_streams_there_is_nothing_to_judge() -> None:
    assert judge(Felt()).level == "unknown"


@pytest.mark.parametrize("hop", HOP_BUDGETS, ids=lambda hop: hop.name)
def test_the_hop_that_is_furthest_beyond_its_budget_is_named(hop: object) -> None:
    assert isinstance(hop, type(HOP_BUDGETS[0]))
    said = judge(but(ttft=4.0, hops=HOPS | {hop.name: hop.budget.bad * 3}))
    assert said.level == "bad"
    assert f"The hop is {hop.name} with" in said.text


def test_late_without_a_hop_points_to_the_queues() -> None:
    assert "look at the queues" in judge(but(ttft=1.5)).text
    assert judge(but(ttft=1.5)).level == "warn"


def test_jitter_is_the_engine_s_or_ours() -> None:
    assert "The engine sends them so." in judge(but(jitter=0.4, engine_jitter=0.39)).text
    assert "evenly. It arises on the way out." in judge(but(jitter=0.4, engine_jitter=0.02)).text
    log = HOPS | {"log: durable": 0.761, "engine: first token": 9.0}
    said = judge(but(jitter=0.4, engine_jitter=0.02, hops=log)).text
    assert said.endswith("The hop is log: durable with 761 ms, its budget is 30 ms.")
    # Beyond a second the bucket is wide, and the two guesses far apart.
    assert "The engine sends them so." in judge(but(jitter=4.9, engine_jitter=1.2)).text
    assert "The engine sends them so." in judge(but(stalls=12.0, engine_stalls=11.0)).text
    assert "on the way out" in judge(but(stalls=12.0, engine_stalls=0.5)).text
    assert judge(but(jitter=0.4, engine_jitter=None)).text.endswith("p99 − p50 is 400 ms.")
    stalls = judge(but(stalls=12.0)).text
    assert "Tokens come unevenly: 12.0 stalls in 1,000 tokens. The engine" in stalls


def test_failures_count_though_tokens_come_well() -> None:
    said = judge(but(success=0.9))
    assert said.level == "bad"
    assert "10.0 % of streams fail" in said.text


@pytest.mark.parametrize(
    ("value", "levels", "expected"),
    [
        (None, Levels(1, 2), "unknown"),
        (0.9, Levels(1, 2), "good"),
        (1.0, Levels(1, 2), "warn"),
        (2.0, Levels(1, 2), "bad"),
        (1.0, Levels(1, 0.5), "good"),
        (0.7, Levels(1, 0.5), "warn"),
        (0.2, Levels(1, 0.5), "bad"),
    ],
)
def test_levels(value: float | None, levels: Levels, expected: str) -> None:
    assert level(value, levels) == expected
