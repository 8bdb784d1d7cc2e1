"""Where the rulebook comes from: a file that is watched, or the inventory alone."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from control_plane.metrics import Metrics
from control_plane.policy_document import PolicyDocument
from control_plane.policy_reading import file_text, read_policy
from control_plane.rulebook import Rulebook, derived_document
from inventory.faults import FaultsError
from inventory.model import Cluster

log = logging.getLogger(__name__)

Signature = tuple[int, int, int]
_UNREAD: Final = (-1, -1, -1)


class PolicySource:
    """One policy and its file, if it has one. A file that cannot be used is told of and
    changes nothing: the last good one is also kept in a file `kept`, so that it holds over a
    restart. `refused`: what is wrong with the file now, one line for each fault. Times are
    Unix seconds."""

    def __init__(
        self,
        cluster: Cluster,
        path: Path | None,
        clock: Callable[[], float],
        kept: Path | None = None,
    ) -> None:
        """Raises FaultsError where there is a file that cannot be used, and no good one
        was kept."""
        self.path = path
        self.refused_at: float | None = None
        self.refused: list[str] = []
        self._cluster = cluster
        self._clock = clock
        self._kept = kept
        self._seen: Signature | None = None if path is None else _signature(path)
        self.rules = self._first()
        self.taken_at = clock()

    def examine(self, text: bytes, file: str) -> PolicyDocument:
        """What a text says, called `file` in messages. Raises FaultsError."""
        return read_policy(text, file, self._cluster)

    def reread(self) -> None:
        """The next look reads the file, also if nothing of it seems to have changed."""
        self._seen = _UNREAD

    async def look(self, adopt: Callable[[Rulebook], None], metrics: Metrics) -> None:
        """Reads the file if it is another one by now, and has its rulebook adopted."""
        metrics.policy_refused.set(bool(self.refused))
        if self.path is None:
            return
        seen = _signature(self.path)
        if seen == self._seen:
            return
        # Before it is read: what is written while it is read will look like another one.
        self._seen = seen
        try:
            fresh = await asyncio.to_thread(self._read, self.path)
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

    def _first(self) -> Rulebook:
        if self.path is None:
            return Rulebook(derived_document(self._cluster), self._cluster)
        try:
            return self._read(self.path)
        except FaultsError as error:
            if self._kept is None or not self._kept.exists():
                raise
            try:
                rules = Rulebook(
                    self.examine(file_text(self._kept), str(self._kept)), self._cluster
                )
            except FaultsError:
                raise error from None
            self._refuse(error)
            return rules

    def _refuse(self, error: FaultsError) -> None:
        self.refused_at, self.refused = self._clock(), error.lines()
        log.error(
            "the policy file is refused, the one before stays: %s",
            "; ".join(self.refused),
            extra={"file": str(self.path), "faults": len(self.refused)},
        )

    def _read(self, path: Path) -> Rulebook:
        text = file_text(path)
        rules = Rulebook(self.examine(text, str(path)), self._cluster)
        if self._kept is not None:
            _keep(self._kept, text)
        return rules


def _keep(kept: Path, text: bytes) -> None:
    """A disk that does not take it costs the policy's life over a restart, not the policy."""
    unfinished = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(kept)
    except OSError as error:
        log.error("the policy cannot be kept: %s", error)


def _signature(path: Path) -> Signature | None:
    """Another one for a file that was written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
