"""When to leave something alone that fails. Pure; times in seconds.

closed ──FAILURES_MAX failures in a row──▶ open ──pause──▶ one may try ──success─▶ closed
                                            ▲                   └──failure─▶ open, longer
"""

from __future__ import annotations

from typing import Final

FAILURES_MAX: Final = 3
PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 15.0


class Breaker:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = PAUSE_S
        self._closed_at = float("-inf")

    @property
    def open(self) -> bool:
        """Has it been left alone for some time?"""
        return self._failures >= FAILURES_MAX

    def allows(self, now: float) -> bool:
        """Whether to try. While it is open one caller may, after each pause."""
        if not self.open:
            return True
        if now < self._closed_at:
            return False
        self._closed_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """It answers."""
        self._failures = 0
        self._pause = PAUSE_S

    def failed(self, now: float) -> None:
        """It does not."""
        if self.open:
            self._pause = min(self._pause * 2, PAUSE_MAX_S)
        self._failures += 1
        if self.open:
            self._closed_at = now + self._pause
