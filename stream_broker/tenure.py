"""How long a relay may show what it appends, by this process's own clock. Pure.

A relay's lease in the log ends `ttl` seconds after the last renewal that the log counted,
and another broker takes the job over a margin later. Whoever was slow, or cut off from the
log, must have stopped showing by then without being told: nobody can tell it.
"""

from __future__ import annotations


class Tenure:
    """One relay's hold on its job. Times are monotonic seconds."""

    __slots__ = ("_since", "_ttl")

    def __init__(self, ttl: float, leased_at: float) -> None:
        self._ttl = ttl
        self._since = leased_at

    def renewed(self, asked_at: float) -> None:
        """The log has answered a renewal that was sent at `asked_at`: it counts from no
        earlier than that."""
        self._since = max(self._since, asked_at)

    def holds(self, now: float) -> bool:
        """May what the log has taken be shown?"""
        return now - self._since < self._ttl
