"""Times at which to look after something, many on one timer of the loop.

A timer of the loop takes 0.5 to 0.8 KiB, and a silent stream had three: when to keep its
client alive, when its engine has said nothing for too long, when its job has to end.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable

# How much later than asked for, at most: this part of the delay, and this many seconds.
_PART_BITS = 8
_LATE_MAX = 0.5
_DELAY_MIN = 0.001

Action = Callable[[], None]


class Alarm:
    """One such time. `when` is in the time of the loop."""

    __slots__ = ("_action", "_slot", "when")

    def __init__(self, when: float, action: Action, slot: dict[Alarm, None]) -> None:
        self.when = when
        self._action: Action | None = action
        self._slot = slot
        slot[self] = None

    @property
    def pending(self) -> bool:
        """It has neither gone off nor been cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """It will not go off any more. Idempotent."""
        self._slot.pop(self, None)
        self._action = None

    def go_off(self) -> None:
        """Does what it is for, unless it was cancelled; once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Alarms:
    """Sets alarms. They go off a little late, many at once, never early."""

    def __init__(self) -> None:
        self._slots: dict[float, dict[Alarm, None]] = {}
        self._times: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def after(self, delay: float, action: Action) -> Alarm:
        """Calls `action` after so many seconds."""
        loop = asyncio.get_running_loop()
        tick = tick_of(delay)
        when = math.ceil((loop.time() + delay) / tick) * tick
        slot = self._slots.get(when)
        if slot is None:
            slot = self._slots[when] = {}
            heapq.heappush(self._times, when)
            if when < self._timer_at:
                self._set_timer(loop, when)
        return Alarm(when, action, slot)

    def close(self) -> None:
        """None goes off any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._slots.clear()
        self._times.clear()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = loop.call_at(when, self._on_time)

    def _on_time(self) -> None:
        loop = asyncio.get_running_loop()
        # The loop's timers, of whole milliseconds, may be early.
        now = max(loop.time(), self._timer_at)
        self._timer, self._timer_at = None, math.inf
        due: list[Alarm] = []
        while self._times and self._times[0] <= now:
            due += self._slots.pop(heapq.heappop(self._times))
        for alarm in due:
            try:
                alarm.go_off()
            except Exception as error:
                told = {"message": "an alarm has failed", "exception": error}
                loop.call_exception_handler(told)
        if self._times and self._times[0] < self._timer_at:
            self._set_timer(loop, self._times[0])


def tick_of(delay: float) -> float:
    """To which seconds an alarm after `delay` is rounded up: a power of two."""
    exponent = math.frexp(max(delay, _DELAY_MIN))[1]
    return min(_LATE_MAX, math.ldexp(1.0, exponent - 1 - _PART_BITS))
