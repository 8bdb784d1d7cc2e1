"""Where the rulebook comes from: a file that is watched, or the inventory alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from control_plane.faults import Fault, FaultsError
from control_plane.metrics import Metrics
from control_plane.policy_reading import read_policy
from control_plane.rulebook import Rulebook, derived_document
from control_plane.yaml_tree import TEXT_MAX
from inventory.model import Cluster

log = logging.getLogger(__name__)

Signature = tuple[int, int, int]
_UNREAD: Final = (-1, -1, -1)


class PolicySource:
    """One policy and its file, if it has one. A file that cannot be used is told of and
    changes nothing. Times are Unix seconds."""

    def __init__(
        self,
        cluster: Cluster,
        path: Path | None,
        clock: Callable[[], float],
    ) -> None:
        """Raises FaultsError where there is a file that cannot be used."""
        self.path = path
        self.taken_at = clock()
        self.refused_at: float | None = None
        self.refused: list[str] = []
        self._cluster = cluster
        self._clock = clock
        self._seen: Signature | None = None if path is None else _signature(path)
        self.rules = self._read()

    def reread(self) -> None:
        """The next look reads the file, also if nothing of it seems to have changed."""
        self._seen = _UNREAD

    async def look(self, adopt: Callable[[Rulebook], None], metrics: Metrics) -> None:
        """Reads the file if it is another one by now, and has its rulebook adopted."""
        if self.path is None:
            return
        seen = _signature(self.path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            fresh = await asyncio.to_thread(self._read)
        except FaultsError as error:
            self._refuse(error)
            metrics.policy_reloads.labels("refused").inc()
            metrics.policy_refused.set(1)
            return
        self.refused_at, self.refused = None, []
        metrics.policy_reloads.labels("taken").inc()
        metrics.policy_refused.set(0)
        if fresh.version != self.rules.version:
            self.rules, self.taken_at = fresh, self._clock()
            adopt(fresh)
            log.info("the policy %s is in force", fresh.version, extra={"file": str(self.path)})

    def _refuse(self, error: FaultsError) -> None:
        self.refused_at, self.refused = self._clock(), error.lines()
        log.error(
            "the policy file is refused, the one before stays: %s",
            "; ".join(self.refused),
            extra={"file": str(self.path), "faults": len(self.refused)},
        )

    def _read(self) -> Rulebook:
        if self.path is None:
            return Rulebook(derived_document(self._cluster), self._cluster)
        document = read_policy(_content(self.path), str(self.path), self._cluster)
        return Rulebook(document, self._cluster)


def _content(path: Path) -> bytes:
    """The file, as far as it can be needed. Raises FaultsError."""
    try:
        with path.open("rb") as file:
            return file.read(TEXT_MAX + 1)
    except OSError as error:
        fault = Fault(1, "", f"cannot be read: {error.strerror}")
        raise FaultsError(str(path), [fault]) from error


def _signature(path: Path) -> Signature | None:
    """Another one for a file that was written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
