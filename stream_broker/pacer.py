"""When the tokens of one job may go: a playout buffer that follows its engine.

Pure: the time is an argument, and a timer of the caller's calls `release` at `next_at`.

**Model.** Tokens come in bursts: what arrives within `JOIN_S` of the first of them is one
burst (a speculating engine emits what one step accepted, arXiv 2211.17192; llama.cpp
writes it as several segments). Three averages describe the engine: the period from burst
to burst and the size of one, with the gain 1/8 of RFC 6298, and the deviation, by how
much a burst misses the time at which the tokens before it are used up, with the 1/16 of
RFC 3550, 6.4.1.

- *Smooth*, single tokens at a steady pace or bursts closer than a quantum: all passes
  through untouched.
- *Bursty*: what is held is spread evenly from the last write to the time when the next
  burst is expected: its period plus `MARGIN` deviations, the playout delay of Ramjee et
  al. (INFOCOM 1994), as far as the limit has room for it. As every burst plans anew for
  all that is held, a queue that grows goes faster: it cannot outgrow the limit.
- No token may wait longer than `hold_max`. Where an even spread would break that it is
  as steep as the tightest deadline asks, up to there, and flatter behind: the optimal
  smoothing of Salehi et al. (SIGMETRICS 1996), with a guess for the future.
- After a *pause* (Ramjee's spike; here a silence of several periods) what comes is late
  already: all of it goes, and one silence alone is not learned from.
- A write carries what is due within the next quantum, so there is at most one in that
  time. Nothing is fixed to a clock: a window of fixed length beats against the rate of
  the tokens (50 ms at 49 ms a token: two tokens every 98 ms).

Figures over recorded and generated traces: docs/pacing.md, by `bench/pacing.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

# Arrivals this close together are one burst.
JOIN_S: Final = 0.002
# Deviations of the next burst's time that are bridged. Ramjee's 4 gave the same jitter where
# engines speculate (8 ms both, bursts of 2 to 8 every 40 ms), with tokens 20 ms older.
MARGIN: Final = 2.0
PERIOD_GAIN: Final = 1 / 8
DEVIATION_GAIN: Final = 1 / 16
# Before anything is known: how long the first burst is spread, and the period for pauses.
FIRST_SPREAD_S: Final = 0.060
FIRST_PERIOD_S: Final = 0.100
# A silence this many periods long, and at least so long, is a pause.
PAUSE_PERIODS: Final = 4.0
PAUSE_MIN_S: Final = 0.200
# An engine counts as bursty from so many tokens a burst, or from a deviation of this part
# of its period once SETTLED bursts are known, if two periods fit into the limit: with less
# a token would wait and bridge nothing. It is smooth again below the second pair.
SIZE_BURSTY: Final = 1.30
DEVIATION_BURSTY: Final = 0.50
SIZE_SMOOTH: Final = 1.15
DEVIATION_SMOOTH: Final = 0.35
SETTLED: Final = 8
# The part of the limit that is planned with; the rest is for timers that fire late.
PLANNED: Final = 0.95

HOLD_MAX_MS: Final = 100.0
QUANTUM_MS: Final = 8.0
_SHORTEST_GAP_S: Final = 1e-6


class PacingPolicy(msgspec.Struct, frozen=True):
    """How a job's tokens are paced: `off`, or `smooth` within the limits (milliseconds)."""

    mode: Literal["off", "smooth"] = "smooth"
    hold_max_ms: float = HOLD_MAX_MS
    quantum_ms: float = QUANTUM_MS


def policy_of(pacing: Mapping[str, Any]) -> PacingPolicy:
    """The policy in a grant's `pacing`. Never raises: what cannot be used is the default.

    The hold is at most 100 ms whatever the grant says (CONTRACT, latency budget).
    """
    hold = _within(pacing.get("hold_max_ms"), 0.0, HOLD_MAX_MS, HOLD_MAX_MS)
    quantum = _within(pacing.get("quantum_ms"), 1.0, 50.0, QUANTUM_MS)
    off = pacing.get("mode") == "off" or quantum > hold * PLANNED
    return PacingPolicy("off" if off else "smooth", hold, quantum)


def _within(value: object, least: float, most: float, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return default
    return float(min(max(value, least), most))


class Pacer:
    """The pacer of one job. Times are seconds on one clock that does not go back.

    `next_at`: when `release` is to be called; None when nothing is held.
    """

    __slots__ = (
        "_arrived",
        "_base",
        "_bursts",
        "_bursty",
        "_deviation",
        "_fresh",
        "_gap",
        "_held",
        "_hold_s",
        "_late",
        "_open_at",
        "_pacing",
        "_period",
        "_quantum_s",
        "_released",
        "_size",
        "_start",
        "_until",
        "next_at",
    )

    def __init__(self, policy: PacingPolicy, seq: int = 0) -> None:
        off = policy.mode == "off"
        self.next_at: float | None = None
        self._hold_s = policy.hold_max_ms / 1000 * PLANNED
        self._quantum_s = policy.quantum_ms / 1000
        self._arrived = self._released = seq
        # The burst that is arriving: its first token's time and its tokens so far. Off is
        # one burst without end that is not paced.
        self._start = math.inf if off else -math.inf
        self._fresh = 0
        # What is known of the engine.
        self._bursts = 0
        self._period = FIRST_PERIOD_S
        self._size = 1.0
        self._deviation = 0.0
        self._bursty = self._pacing = not off
        self._late = False
        # The plan: the i-th token held is due at `_base + i * _gap`, a write not before
        # `_open_at`; the next burst is expected at `_until`.
        self._held: list[tuple[int, float]] = []
        self._base = self._gap = self._until = 0.0
        self._open_at = -math.inf

    def push(self, now: float, seq: int) -> int:
        """Everything up to `seq` may be shown since `now`. Returns what may go at once."""
        fresh = seq - self._arrived
        if fresh <= 0:
            return self._released
        self._arrived = seq
        if now - self._start < JOIN_S:
            self._fresh += fresh
        else:
            self._begin_burst(now)
            self._start = now
            self._fresh = fresh
        if not self._pacing:
            self._released = seq
            return seq
        return self._hold(now)

    def release(self, now: float) -> int:
        """Everything up to the returned number may go. Before `next_at` that is nothing new."""
        if self.next_at is None or now < self.next_at:
            return self._released
        due = math.ceil((now + self._quantum_s - self._base) / self._gap) - 1
        if due >= self._arrived - self._released:
            self._base += (self._arrived - self._released) * self._gap
            self._open_at = now + self._quantum_s
            return self.flush()
        due = max(due, 1)
        self._released += due
        self._base += due * self._gap
        self._open_at = now + self._quantum_s
        while self._held[0][0] <= self._released:
            del self._held[0]
        self._plan(now)
        return self._released

    def flush(self) -> int:
        """Lets everything go now."""
        self._released = self._arrived
        self._held.clear()
        self.next_at = None
        return self._released

    @property
    def oldest(self) -> float:
        """When the burst of the oldest token began that is held; there has to be one."""
        return self._held[0][1] - self._hold_s

    # Private

    # These two run for every token of a smooth engine: no min, max or abs, each is a call.
    def _begin_burst(self, now: float) -> None:
        """A burst has ended and the next one begins: learns, and decides whether to pace."""
        period = now - self._start
        if self._fresh == 0:
            self._base = now - 1.0
            return
        pause = PAUSE_PERIODS * self._period
        if pause < PAUSE_MIN_S:
            pause = PAUSE_MIN_S
        late = period > pause
        if not late:
            self._learn(period)
        elif self._late:
            # One pause is an accident, a second one in a row the new pace.
            self._learn(pause)
        self._late = late
        if late or self._bursty is not self._pacing:
            self._turn(now, self._bursty and not late)

    def _learn(self, period: float) -> None:
        mean, size, fresh = self._period, self._size, self._fresh
        self._bursts = bursts = self._bursts + 1
        if bursts == 1:
            mean, size = period, float(fresh)
        else:
            if fresh > 2 * size + 1:
                # A single freak of size (all that a cut had held up) counts for little.
                fresh = int(2 * size + 1)
            missed = period - fresh * mean / size
            if missed < 0:
                missed = -missed
            self._deviation += DEVIATION_GAIN * (missed - self._deviation)
            gain = PERIOD_GAIN if bursts > SETTLED else 1 / bursts
            mean += gain * (period - mean)
            size += gain * (fresh - size)
        self._period, self._size = mean, size
        if self._bursty:
            least, part = SIZE_SMOOTH, DEVIATION_SMOOTH
        else:
            least, part = SIZE_BURSTY, DEVIATION_BURSTY
        self._bursty = mean >= self._quantum_s and (
            size > least
            or (self._deviation > part * mean and bursts > SETTLED and 2 * mean < self._hold_s)
        )

    def _turn(self, now: float, pacing: bool) -> None:
        self._pacing = pacing
        if pacing:
            self._base = self._start
            self._open_at = self._start + self._quantum_s
        else:
            self._base = now
            self.flush()

    def _hold(self, now: float) -> int:
        """Takes the newest into the plan. Returns what may go at once."""
        deadline = self._start + self._hold_s
        if self._held and self._held[-1][1] == deadline:
            self._held[-1] = (self._arrived, deadline)
        else:
            self._held.append((self._arrived, deadline))
        if self._bursts:
            room = min(self._period + MARGIN * self._deviation, self._hold_s)
            self._until = self._start + max(self._period, room)
        else:
            self._until = self._start + FIRST_SPREAD_S
        self._plan(now)
        return self.release(now)

    def _plan(self, now: float) -> None:
        """Spreads what is held from the last write on, or from now if one is overdue."""
        gap = self._even_gap(self._base, 0)
        due = self._base + gap
        if due <= now:
            due = now
            gap = self._even_gap(now, 1)
            self._base = now - gap
        self._gap = gap
        if due < self._open_at:
            # After a timer that was late the deadline comes before the quantum.
            due = min(self._open_at, max(due, self._held[0][1]))
        self.next_at = due

    def _even_gap(self, origin: float, gone: int) -> float:
        """The even gap after a write at `origin`, with `gone` tokens of those held in it."""
        first = self._released + gone
        gap = (self._until - origin) / (self._arrived - first + 1)
        for end, deadline in self._held:
            if end > first:
                gap = min(gap, (deadline - origin) / (end - first))
        return max(gap, _SHORTEST_GAP_S)
