"""Nothing falls due early, nothing is forgotten."""

from __future__ import annotations

from bench.wheel import Wheel


def test_items_come_in_order_of_time_and_never_before_it() -> None:
    wheel: Wheel[str] = Wheel(10.0)
    wheel.add(10.0205, "later")
    wheel.add(10.0101, "sooner")
    assert wheel.take(10.0100) == []
    assert wheel.take(10.0120) == ["sooner"]
    assert wheel.take(10.0215) == ["later"]
    assert wheel.take(11.0) == []


def test_what_is_past_falls_due_at_once() -> None:
    wheel: Wheel[str] = Wheel(10.0)
    wheel.take(10.5)
    wheel.add(10.1, "late")
    assert wheel.take(10.502) == ["late"]
