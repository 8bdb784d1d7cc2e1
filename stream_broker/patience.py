"""Whether a client that has stopped taking has to be given up. Pure."""

from __future__ import annotations


class Patience:
    """Counts the time for which a client has taken nothing at all.

    `limit` is in seconds; `unsent` is what the client has not taken, in bytes: as long as
    it becomes less the client is slow, not gone.
    """

    __slots__ = ("_limit", "_since", "_unsent")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: float | None = None
        self._unsent = 0

    def look(self, now: float, unsent: int) -> float:
        """Looks at a client that is full at time `now`. Returns when to look again.

        A time that is not after `now` says that the client has to be given up.
        """
        if self._since is None or unsent < self._unsent:
            self._since = now
        self._unsent = unsent
        return min(self._since + self._limit, max(now, self._since) + self._limit / 4)

    @property
    def tried(self) -> bool:
        """The client is being waited for."""
        return self._since is not None

    def end(self) -> None:
        """The client has taken enough."""
        self._since = None
