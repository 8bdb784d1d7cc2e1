"""When the log of each home was away, as one broker saw it. Pure; times in seconds.

After an absence, relays that live must be let renew their leases before anybody takes
their jobs over; and a job that was begun while its log was away may be one that lives in
its home's memory only.
"""

from __future__ import annotations

from collections import deque

_KEPT = 64
# By how much two brokers may differ about the beginning and the end of an absence.
SLACK_S = 5.0


class Outages:
    """The last absences of the log, by hash tag."""

    def __init__(self) -> None:
        self._away_since: dict[str, float] = {}
        self._over: dict[str, deque[tuple[float, float]]] = {}

    def answered(self, tag: str, now: float) -> None:
        """The log of a home answers."""
        since = self._away_since.pop(tag, None)
        if since is not None:
            self._over.setdefault(tag, deque(maxlen=_KEPT)).append((since, now))

    def away(self, tag: str, now: float) -> None:
        """The log of a home does not answer."""
        self._away_since.setdefault(tag, now)

    def quiet_for(self, tag: str, now: float) -> float:
        """Seconds since the last absence ended; 0 while the log is away, endless if never."""
        if tag in self._away_since:
            return 0.0
        over = self._over.get(tag)
        return now - over[-1][1] if over else float("inf")

    def was_away(self, tag: str, at: float, slack: float = SLACK_S) -> bool:
        """Was the log away at `at`, or within `slack` seconds of it?"""
        since = self._away_since.get(tag)
        if since is not None and at >= since - slack:
            return True
        return any(a - slack <= at <= b + slack for a, b in self._over.get(tag, ()))
