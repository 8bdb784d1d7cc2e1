"""Engines that come and go: each comes back later than the time before. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

# Within the window so many absences are pardoned.
PARDONED: Final = 2
WINDOW_S: Final = 60.0
HOLD_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Flaps:
    """`downs`: when it went down lately; it is not believed to be up before `held_until`.
    Unix seconds."""

    downs: tuple[float, ...] = ()
    held_until: float = 0.0


def changed(flaps: Flaps, healthy: bool, now: float) -> Flaps:
    """After a change of what its health check says."""
    downs = tuple(at for at in flaps.downs if 0 <= now - at < WINDOW_S)
    if not healthy:
        return replace(flaps, downs=(*downs, now)[-16:])
    over = len(downs) - PARDONED
    hold = min(HOLD_MAX_S, 2.0**over) if over > 0 else 0.0
    return replace(flaps, downs=downs, held_until=now + hold)


def is_held(flaps: Flaps, now: float) -> bool:
    """Is it up, and not believed yet?"""
    return 0 < flaps.held_until - now <= HOLD_MAX_S
