"""How late the timers of this process are: what every stream here is late by, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.25


async def watch_lateness(
    monotonic: Callable[[], float], told: Callable[[float], object], every: float = EVERY_S
) -> None:
    """Sets a timer again and again and says how late it was (seconds), until cancelled."""
    while True:
        due = monotonic() + every
        await asyncio.sleep(every)
        # A timer of whole milliseconds may come a little early.
        told(max(0.0, monotonic() - due))
