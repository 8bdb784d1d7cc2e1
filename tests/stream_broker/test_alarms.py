from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.alarms import Alarms, tick_of


class Loop:
    """Stands in for the running loop: its time is the test's, its timers are noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.faults: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, action: Any) -> Timer:
        timer = Timer(when, action)
        self.timers.append(timer)
        return timer

    def call_exception_handler(self, told: dict[str, Any]) -> None:
        self.faults.append(told)

    @property
    def standing(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.over]

    def pass_to(self, now: float) -> None:
        """Time passes; what falls due in it is called in order."""
        while due := [timer for timer in self.standing if timer.when <= now]:
            first = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, first.when)
            first.over = True
            first.action()
        self.now = now


class Timer:
    def __init__(self, when: float, action: Any) -> None:
        self.when = when
        self.action = action
        self.over = False

    def cancel(self) -> None:
        self.over = True


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_many_stand_on_one_timer(loop: Loop) -> None:
    alarms, gone = Alarms(), []
    for number in range(1000):
        alarms.after(15.0 + number / 100_000, lambda n=number: gone.append(n))  # type: ignore[misc]
    assert len(loop.standing) == 1
    loop.pass_to(16.0)
    assert gone == list(range(1000))
    assert loop.standing == []


def test_one_that_is_due_sooner_moves_the_timer(loop: Loop) -> None:
    alarms, gone = Alarms(), []
    alarms.after(15.0, lambda: gone.append("late"))
    alarms.after(1.0, lambda: gone.append("soon"))
    assert len(loop.standing) == 1
    loop.pass_to(1.1)
    assert gone == ["soon"]
    assert len(loop.standing) == 1
    loop.pass_to(16.0)
    assert gone == ["soon", "late"]


def test_a_cancelled_one_does_not_go_off(loop: Loop) -> None:
    alarms, gone = Alarms(), []
    first = alarms.after(1.0, lambda: other.cancel())
    other = alarms.after(1.0, lambda: gone.append(1))
    alarms.after(1.0, lambda: gone.append(2))
    third = alarms.after(1.0, lambda: gone.append(3))
    third.cancel()
    third.cancel()
    assert (first.pending, third.pending) == (True, False)
    loop.pass_to(2.0)
    assert not first.pending
    first.cancel()
    assert gone == [2]


def test_one_may_be_set_while_others_go_off(loop: Loop) -> None:
    alarms, gone = Alarms(), []

    def again() -> None:
        gone.append(loop.now)
        alarms.after(0.0 if len(gone) == 1 else 5.0, again)

    alarms.after(1.0, again)
    loop.pass_to(3.0)
    assert len(gone) == 2
    assert len(loop.standing) == 1


def test_a_fault_in_one_is_told_and_stops_no_other(loop: Loop) -> None:
    alarms, gone = Alarms(), []
    alarms.after(1.0, lambda: [][0])
    alarms.after(1.0, lambda: gone.append(1))
    loop.pass_to(2.0)
    assert gone == [1]
    assert isinstance(loop.faults[0]["exception"], IndexError)


def test_none_goes_off_after_the_end(loop: Loop) -> None:
    alarms, gone = Alarms(), []
    alarm = alarms.after(1.0, lambda: gone.append(1))
    alarms.close()
    alarm.cancel()
    loop.pass_to(2.0)
    assert gone == []


@given(st.floats(0, 1e6, allow_nan=False), st.floats(0, 1e5, allow_nan=False))
def test_none_is_early_and_none_much_too_late(now: float, delay: float) -> None:
    loop = Loop()
    loop.now = now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: loop)
        alarm = Alarms().after(delay, lambda: None)
    late = alarm.when - (now + delay)
    assert 0 <= late <= tick_of(delay)
    assert tick_of(delay) <= max(delay / 128, 0.001)
    assert tick_of(delay) <= 0.5
