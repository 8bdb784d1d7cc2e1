"""Where one job goes, of engines in any state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.grants import EngineTarget
from contracts.problems import ProblemError
from control_plane.fleet.readings import Powers
from control_plane.placing.affinity import Affinities, score
from control_plane.placing.placement import Candidate, Full, Job, Placed, place


def candidate(name: str, **more: Any) -> Candidate:
    target = EngineTarget(kind="vllm", base_url=f"http://{name}", model="m", name=name)
    return Candidate(target, f"http://{name}", **more)


def placed(job: Job, *candidates: Candidate, last: str | None = None) -> list[str]:
    """The names of the engines, in order."""
    found = place("m", job, candidates, last)
    assert isinstance(found, Placed)
    return [target.name for target in found.targets]


@pytest.mark.parametrize(
    ("need", "field", "words"),
    [("tools", "tools", "cannot call tools"), ("vision", "messages", "cannot see images")],
)
def test_what_a_model_cannot_do_is_said(need: str, field: str, words: str) -> None:
    cannot = candidate("a", powers=Powers(unable=frozenset({need})))
    with pytest.raises(ProblemError, match=words) as caught:
        place("m", Job(needs=(need,)), [cannot])
    assert (caught.value.code, caught.value.field) == ("invalid_request", field)
    assert placed(Job(needs=(need,)), cannot, candidate("b")) == ["b"]


def test_a_prompt_that_does_not_fit_is_refused_and_one_that_fits_elsewhere_goes_there() -> None:
    small, large = candidate("small", context=100), candidate("large", context=1000, rank=1)
    assert placed(Job(prompt_tokens=99), small, large) == ["small", "large"]
    assert placed(Job(prompt_tokens=100), small, large) == ["large"]
    with pytest.raises(ProblemError, match=r"context_too_long: .* 1000 "):
        place("m", Job(prompt_tokens=1000), [small, large])
    assert placed(Job(prompt_tokens=None), small) == ["small"]


def test_engines_that_are_not_up_get_nothing_but_what_all_others_have_failed() -> None:
    states = ("drained", "down", "flapping", "absent", "failing")
    out = [candidate(state, condition=state) for state in states]
    assert placed(Job(), *out, candidate("up", rank=9)) == ["up", "flapping"]
    assert placed(Job(), candidate("flaps", condition="flapping", context=1), candidate("up")) == [
        "up", "flaps",
    ]  # fmt: skip
    assert placed(
        Job(prompt_tokens=1), candidate("small", condition="flapping", context=1), candidate("up")
    ) == ["up"]
    with pytest.raises(ProblemError, match="no_engine"):
        place("m", Job(), out[:2])


@pytest.mark.parametrize("state", ["flapping", "absent", "failing"])
def test_an_engine_that_is_only_suspected_is_asked_where_there_is_no_other(state: str) -> None:
    alone = candidate(state, condition=state)
    found = place("m", Job(), [alone, candidate("down", condition="down")])
    assert isinstance(found, Placed)
    assert (found.reason, [target.name for target in found.targets]) == ("last_resort", [state])
    behind = [state] if state == "flapping" else []
    assert placed(Job(), alone, candidate("trial", condition="trial")) == ["trial", *behind]


def test_a_full_engine_is_passed_over_and_all_full_ones_are_full() -> None:
    full = candidate("full", verdict="full")
    assert placed(Job(), full, candidate("free", rank=1)) == ["free", "full"]
    found = place("m", Job(), [full, candidate("down", condition="down")])
    assert isinstance(found, Full)
    assert found.may_wait
    assert [target.name for target in found.targets] == ["full", "down"]
    refusing = place("m", Job(), [candidate("tf", verdict="refuse")])
    assert isinstance(refusing, Full)
    assert not refusing.may_wait
    unbounded = place("m", Job(), [full], bounded=False)
    assert isinstance(unbounded, Placed)


def test_a_warm_engine_is_preferred_and_the_cold_one_is_warmed() -> None:
    cold = candidate("cold", verdict="after", cold=True)
    found = place("m", Job(), [cold, candidate("warm", rank=1)])
    assert isinstance(found, Placed)
    assert [target.name for target in found.targets] == ["warm", "cold"]
    assert found.warm == cold.target
    alone = place("m", Job(), [cold])
    assert isinstance(alone, Placed)
    assert alone.warm is None


def test_a_conversation_stays_where_it_was_while_that_engine_is_well() -> None:
    one, two, three = (candidate(name) for name in ("one", "two", "three"))
    job = Job(affinity="talk")
    (home, *_) = placed(job, one, two, three)
    busier = [candidate(n, used=4 if n == home else 0) for n in ("one", "two", "three")]
    assert placed(job, *busier)[0] == home
    flooded = [candidate(n, used=5 if n == home else 0) for n in ("one", "two", "three")]
    assert placed(job, *flooded)[0] != home
    assert placed(job, one, two, three, last="http://two")[0] == "two"
    down = candidate("two", condition="down")
    assert placed(job, one, down, three, last="http://two")[0] in ("one", "three")


def test_without_a_conversation_the_idlest_engine_is_first() -> None:
    busy = candidate("busy", used=3, slots=8)
    idle = candidate("idle", used=1, slots=8)
    assert placed(Job(), busy, idle) == ["idle", "busy"]


def test_an_engine_that_leaves_moves_only_its_own_conversations() -> None:
    urls = [f"http://{n}" for n in range(5)]
    for talk in map(str, range(200)):
        first = max(urls, key=lambda url: score(talk, url))
        left = max(urls[:-1], key=lambda url: score(talk, url))
        assert first in (left, urls[-1])


def test_only_so_many_conversations_are_remembered() -> None:
    known = Affinities(most=2)
    for talk in ("a", "b", "a", "c"):
        known.put("m", talk, talk)
    assert [known.get("m", talk) for talk in ("a", "b", "c")] == ["a", None, "c"]
    assert len(known) == 2
    known.put("m", None, "nowhere")
    assert known.get("m", None) is None


CANDIDATES = st.lists(
    st.builds(
        lambda number, rank, condition, verdict, used, context, tools: candidate(
            f"e{number}",
            rank=rank,
            condition=condition,
            verdict=verdict,
            used=used,
            context=context,
            powers=Powers(unable=frozenset() if tools else frozenset({"tools"})),
        ),
        number=st.integers(0, 6),
        rank=st.integers(0, 2),
        condition=st.sampled_from(["up", "up", "drained", "down", "failing", "trial"]),
        verdict=st.sampled_from([None, None, "after", "full", "refuse"]),
        used=st.integers(0, 9),
        context=st.sampled_from([None, 10, 100]),
        tools=st.booleans(),
    ),
    max_size=7,
    unique_by=lambda c: c.url,
)


@given(
    CANDIDATES,
    st.booleans(),
    st.integers(0, 120),
    st.none() | st.just("talk"),
    st.none() | st.sampled_from([f"http://e{n}" for n in range(7)]),
)
def test_no_job_goes_where_it_cannot_run(
    candidates: list[Candidate], tools: bool, tokens: int, affinity: str | None, last: str | None
) -> None:
    job = Job(needs=("tools",) if tools else (), prompt_tokens=tokens, affinity=affinity)
    can = [
        c
        for c in candidates
        if not (tools and c.powers.unable) and (c.context is None or tokens < c.context)
    ]
    can = [c for c in can if c.condition in ("up", "trial")] or [
        c for c in can if c.condition == "failing"
    ]
    try:
        found = place("m", job, candidates, last)
    except ProblemError:
        assert not can
        return
    roomy = {c.url for c in can if c.has_room}
    assert isinstance(found, Placed) == bool(roomy)
    if isinstance(found, Placed):
        urls = [target.base_url for target in found.targets]
        assert urls[0] in roomy
        assert set(urls) <= {c.url for c in can}
        assert len(set(urls)) == len(urls)
        whole = [c for c in can if c.has_room and c.condition == "up"]
        tried = [c for c in can if c.has_room and c.condition == "trial"]
        assert found.trial == (not whole and bool(tried))
