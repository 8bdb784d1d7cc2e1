"""Lets paced jobs show their tokens when their pacers say so: one timer for all of them.

The pacer belongs to a job's window on this broker, not to a viewer: all who keep up see
the same cadence for the price of one, and who does not keep up is not paced anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from stream_broker.pacer import Pacer, policy_of
from stream_broker.wheel import Wheel
from stream_broker.window import Window

# At most so many wake-ups a second, however many jobs are paced; a token may be as late.
TICK_S = 0.001


class Playout:
    """Paces windows; what it holds goes when its window ends.

    `held` hears of each write how many seconds its oldest token was held.

    `monotonic` is the clock of the loop's timers, read when it is asked: uvloop's own
    `time` stands still between two turns, by whole milliseconds.
    """

    def __init__(
        self, monotonic: Callable[[], float], held: Callable[[float], object] = lambda _: None
    ) -> None:
        self.now = monotonic
        self.held = held
        self._wheel: Wheel[_Gate] = Wheel(TICK_S)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def pace(self, window: Window, pacing: Mapping[str, Any]) -> None:
        """Paces a window from now on by a grant's `pacing`, unless it is paced already."""
        if window.gate is None and not window.ended:
            policy = policy_of(pacing)
            if policy.mode != "off":
                window.gate = _Gate(self, window, Pacer(policy, window.shown))

    def arm(self, gate: _Gate, at: float) -> float:
        """Calls `gate.release` at `at`, or up to a tick later. Returns when."""
        at = self._wheel.add(gate, at)
        if self._timer is None or at < self._timer_at:
            self._set_timer(at)
        return at

    def close(self) -> None:
        """Ends the timer; what is held stays held."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        # A timer of whole milliseconds may come a little early.
        now = max(self.now(), self._timer_at)
        for gate in self._wheel.take(now):
            gate.release(now)
        following = self._wheel.next_at
        if following is not None and self._timer is None:
            self._set_timer(following)


class _Gate:
    """What stands between a window's log and its viewers."""

    __slots__ = ("_armed_at", "_pacer", "_playout", "_window")

    def __init__(self, playout: Playout, window: Window, pacer: Pacer) -> None:
        self._playout = playout
        self._window = window
        self._pacer = pacer
        self._armed_at: float | None = None

    def __call__(self) -> None:
        """The log holds more. The end of a job is not held back."""
        window, pacer = self._window, self._pacer
        shown = pacer.push(self._playout.now(), window.durable)
        if window.ended:
            shown = pacer.flush()
        window.show(shown)
        self._arm()

    def release(self, now: float) -> None:
        """A time for which this was armed has come; perhaps not the latest such."""
        if self._armed_at is not None and now < self._armed_at:
            return
        self._armed_at = None
        pacer, window = self._pacer, self._window
        if pacer.next_at is not None:
            since, before = pacer.oldest, window.shown
            window.show(pacer.release(now))
            if window.shown > before:
                self._playout.held(now - since)
            self._arm()

    def _arm(self) -> None:
        at = self._pacer.next_at
        if at is not None and (self._armed_at is None or at <= self._armed_at - TICK_S):
            self._armed_at = self._playout.arm(self, at)
