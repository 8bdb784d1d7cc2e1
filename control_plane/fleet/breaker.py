"""When an engine gets no job of a model, because its answers fail. A state machine without a
clock of its own; times are Unix seconds.

    closed ──faults──▶ open ──pause over──▶ half open ──trial succeeds──▶ closed
                        ▲                       │
                        └──── trial fails ──────┘   each pause twice as long, to a cap

What its health check says does not count here: an engine may answer that one and fail at
every request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

State = Literal["closed", "half_open", "open"]

# It opens when, of the attempts within the window, at least so many failed, and half of all;
# or when so many followed each other without a success, however slowly they came.
FAULTS: Final = 3
WINDOW_S: Final = 10.0
ROW_S: Final = 300.0
# Of one trial; then another may be made.
TRIAL_S: Final = 20.0
PAUSE_S: Final = 2.0
PAUSE_MAX_S: Final = 60.0
# So long after it closed it is forgotten that it ever opened.
CALM_S: Final = 60.0

_REMEMBERED: Final = 32


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one engine and model. `attempts`: (when, whether it failed);
    `openings` without a calm between; `trial_at`: when the trial under way began."""

    attempts: tuple[tuple[float, bool], ...] = ()
    openings: int = 0
    opened_at: float | None = None
    closed_at: float | None = None
    trial_at: float | None = None


def state_of(breaker: Breaker, now: float) -> State:
    """Whether jobs may go there: all, none, or one trial."""
    if breaker.opened_at is None:
        return "closed"
    # A clock that was set back keeps nobody out.
    waiting = 0 <= now - breaker.opened_at < pause_of(breaker)
    return "open" if waiting else "half_open"


def pause_of(breaker: Breaker) -> float:
    """How long it stays open, in seconds from its opening."""
    return float(min(PAUSE_MAX_S, PAUSE_S * 2 ** min(16, max(0, breaker.openings - 1))))


def may_try(breaker: Breaker, now: float) -> bool:
    """Is it time for a trial, and none under way?"""
    if state_of(breaker, now) != "half_open":
        return False
    return breaker.trial_at is None or not 0 <= now - breaker.trial_at < TRIAL_S


def tried(breaker: Breaker, now: float) -> Breaker:
    """A trial begins."""
    return replace(breaker, trial_at=now)


def failed(breaker: Breaker, now: float) -> Breaker:
    """An attempt has failed. While it is open, those of jobs that began before do not count."""
    state = state_of(breaker, now)
    if state == "half_open":
        return opened(breaker, now)
    if state == "open":
        return replace(breaker, trial_at=None)
    attempts = _lately(breaker, now, failure=True)
    after = replace(breaker, attempts=attempts)
    in_a_row = [failure for _, failure in attempts[-FAULTS:]]
    recent = [failure for at, failure in attempts if now - at < WINDOW_S]
    many = sum(recent) >= FAULTS and 2 * sum(recent) >= len(recent)
    return opened(after, now) if many or sum(in_a_row) == FAULTS else after


def succeeded(breaker: Breaker, now: float, *, trial: bool = False) -> Breaker:
    """An attempt has succeeded. Only a trial closes it: any other job began before."""
    if breaker.opened_at is None:
        return replace(breaker, attempts=_lately(breaker, now, failure=False))
    if not trial or breaker.trial_at is None:
        return breaker
    return replace(breaker, attempts=(), opened_at=None, closed_at=now, trial_at=None)


def opened(breaker: Breaker, now: float) -> Breaker:
    """It gets no job from now on."""
    closed = breaker.closed_at
    calm = breaker.opened_at is None and closed is not None and now - closed >= CALM_S
    openings = 1 if calm else breaker.openings + 1
    return replace(breaker, openings=openings, opened_at=now, trial_at=None, attempts=())


def _lately(breaker: Breaker, now: float, *, failure: bool) -> tuple[tuple[float, bool], ...]:
    recent = (entry for entry in breaker.attempts if 0 <= now - entry[0] < ROW_S)
    return (*recent, (now, failure))[-_REMEMBERED:]
