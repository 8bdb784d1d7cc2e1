"""Counts what may come in floods, to be written as one line a minute. Pure."""

from __future__ import annotations

from typing import Final

from control_plane.store.audit import Entry

_KINDS_MAX: Final = 1000
_OTHERS: Final = "others"


class Tally:
    """Refusals by actor, action and code. However many come, `take` gives at most `most`
    lines, and one more for each action and code whose actors did not fit."""

    def __init__(self, most: int = _KINDS_MAX) -> None:
        self._most = most
        self._counts: dict[tuple[str, str, str], tuple[int, float]] = {}

    def add(self, actor: str, action: str, code: str, now: float) -> None:
        """Counts one refusal."""
        kind = (actor, action, code)
        if kind not in self._counts and len(self._counts) >= self._most:
            kind = (_OTHERS, action, code)
        count, first = self._counts.get(kind, (0, now))
        self._counts[kind] = (count + 1, first)

    def take(self) -> list[Entry]:
        """What was counted since the last time, and counts anew."""
        counts, self._counts = self._counts, {}
        return [
            Entry(at=first, actor=actor, action=action, outcome=code, detail={"count": count})
            for (actor, action, code), (count, first) in counts.items()
        ]

    def restore(self, entries: list[Entry]) -> None:
        """Counts again what could not be written."""
        for entry in entries:
            kind = (entry.actor, entry.action, entry.outcome)
            count, _ = self._counts.get(kind, (0, 0.0))
            self._counts[kind] = (count + entry.detail["count"], entry.at)
