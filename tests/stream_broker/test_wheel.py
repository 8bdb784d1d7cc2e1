from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_broker.wheel import Wheel

times = st.floats(0, 100, allow_nan=False)


def test_an_empty_wheel_is_never_due() -> None:
    wheel: Wheel[str] = Wheel(0.001)
    assert wheel.next_at is None
    assert wheel.take(1e9) == []


def test_what_falls_into_one_tick_comes_together() -> None:
    wheel: Wheel[str] = Wheel(0.25)
    assert wheel.add("a", 1.01) == wheel.add("b", 1.2) == 1.25
    assert wheel.next_at == 1.25
    assert wheel.take(1.2) == []
    assert wheel.take(1.25) == ["a", "b"]
    assert wheel.next_at is None


@given(st.lists(times), st.lists(times))
def test_everything_comes_once_and_never_early(adds: list[float], looks: list[float]) -> None:
    wheel: Wheel[int] = Wheel(0.25)
    due = {number: wheel.add(number, at) for number, at in enumerate(adds)}
    assert all(at <= due[number] <= at + 0.25 for number, at in enumerate(adds))
    taken: list[int] = []
    for now in sorted(looks):
        came = wheel.take(now)
        assert [due[number] for number in came] == sorted(due[number] for number in came)
        taken += came
        assert set(taken) == {number for number, at in due.items() if at <= now}
        rest = [at for number, at in due.items() if number not in taken]
        assert wheel.next_at == min(rest, default=None)
    assert len(taken) == len(set(taken))
