"""When an engine counts as healthy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.grants import EngineKind, EngineTarget
from control_plane.health import Health, observe, probe_url


def after(*answers: bool) -> Health:
    state = Health()
    for second, answered in enumerate(answers):
        state = observe(state, answered, float(second))
    return state


@pytest.mark.parametrize(
    ("answers", "healthy"),
    [
        ((), True),
        ((False,), True),
        ((False, False), False),
        ((False, True, False), True),
        ((True, False, False), False),
        ((False, False, False, True), True),
        ((False, False, True, False), True),
    ],
)
def test_two_failures_put_it_down_and_one_success_up(
    answers: tuple[bool, ...], healthy: bool
) -> None:
    assert after(*answers).healthy is healthy


@given(st.lists(st.booleans()))
def test_it_is_down_exactly_when_the_last_two_failed(answers: list[bool]) -> None:
    assert after(*answers).healthy == (answers[-2:] != [False, False])


def test_since_is_when_it_changed_and_checked_at_when_it_was_asked() -> None:
    state = after(True, True, False, False, False)
    assert (state.since, state.checked_at, state.failures) == (3.0, 4.0, 3)
    assert after(True, True).since == 0.0


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("vllm", "http://gpu:1/health"),
        ("ollama", "http://gpu:1/api/version"),
        ("tf_serving", "http://gpu:1/v1/models/a%2Fb"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_kind_is_asked_its_own_way(kind: EngineKind, url: str, slash: str) -> None:
    engine = EngineTarget(kind=kind, base_url=f"http://gpu:1{slash}", model="a/b")
    assert probe_url(engine) == url
