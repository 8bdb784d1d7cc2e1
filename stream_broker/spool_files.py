"""Lines kept on disk until each has been dealt with, for this process or the next one.

    ROOT/slot-0/lock            held (flock) by the process that works with the slot
    ROOT/slot-0/00000001.jsonl  one line after the other, up to SEGMENT_BYTES and one line
    ROOT/slot-0/00000002.jsonl

A segment is deleted once all of its lines are dealt with: what a crash has to send again
is one segment, however long the spool was. A process works in the first slot that nobody
holds, and takes in what all others that nobody holds have left behind, whichever worker
of whichever name wrote it. Nothing here waits for the network or knows what a line means.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 << 10
_SUFFIX: Final = ".jsonl"


class Segment:
    """One file. `left`: lines that are not dealt with."""

    __slots__ = ("fd", "left", "path", "size", "torn")

    def __init__(self, path: Path, fd: int | None = None) -> None:
        self.path = path
        self.fd = fd
        self.left = 0
        self.size = 0
        self.torn = False


class SpoolFiles:
    """The slots of one process under `root`, which is made. `close` lets go of them.

    Raises OSError when no slot can be made.
    """

    def __init__(self, root: Path) -> None:
        self._locks: list[int] = []
        self._unsynced: set[Path] = set()
        self._active: Segment | None = None
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._slot = self._own(root)
        self._slots = [self._slot, *self._left_behind(root)]
        self._number = max((int(path.stem) for path in _segments(self._slot)), default=0)

    def take_in(self) -> list[tuple[Segment, list[bytes]]]:
        """What is on disk already: for each segment its lines, whole or torn. Call it once.

        The caller says `done` for each line, also of one that it cannot read.
        """
        found = []
        for slot in self._slots:
            for path in _segments(slot):
                try:
                    lines = path.read_bytes().splitlines()
                except OSError as error:
                    _LOG.error("a spooled file cannot be read: %s", error)
                    continue
                segment = Segment(path)
                segment.left = len(lines)
                if lines:
                    found.append((segment, lines))
                else:
                    _unlink(path)
        return found

    def append(self, line: bytes) -> Segment | None:
        """Writes a line, which has no line end; None where the disk does not take it.

        It is with the kernel then, and outlives this process; `sync` makes it
        outlive more.
        """
        try:
            segment = self._writable()
            # What a full disk has cut off must not run into this one.
            data = (b"\n" if segment.torn else b"") + line + b"\n"
            segment.torn = True
            fd = segment.fd
            assert fd is not None  # noqa: S101  # the active segment is open
            if os.write(fd, data) < len(data):
                return None
        except OSError as error:
            _LOG.error("a settlement cannot be spooled: %s", error)
            return None
        segment.torn = False
        segment.size += len(data)
        segment.left += 1
        self._unsynced.add(segment.path)
        return segment

    def done(self, segment: Segment) -> None:
        """One line of a segment is dealt with; the last one takes the file with it."""
        segment.left -= 1
        if segment.left > 0:
            return
        self._unsynced.discard(segment.path)
        if segment is not self._active or segment.fd is None:
            _unlink(segment.path)
            return
        try:
            os.ftruncate(segment.fd, 0)
        except OSError as error:
            _LOG.error("a spooled file cannot be emptied: %s", error)
            return
        segment.size = 0
        segment.torn = False

    def unsynced(self) -> list[Path]:
        """What has been written since this was asked last, for `sync`."""
        paths = list(self._unsynced)
        self._unsynced.clear()
        return paths

    def not_synced(self, paths: list[Path]) -> None:
        """They are to be asked for again."""
        self._unsynced.update(paths)

    def close(self) -> None:
        """Lets go of the slots; what is in them is the next process's."""
        self._seal()
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _writable(self) -> Segment:
        if self._active is not None and self._active.size >= SEGMENT_BYTES:
            self._seal()
        if self._active is None:
            self._number += 1
            path = self._slot / f"{self._number:08d}{_SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._active = Segment(path, os.open(path, flags, 0o600))
        return self._active

    def _seal(self) -> None:
        segment, self._active = self._active, None
        if segment is not None and segment.fd is not None:
            os.close(segment.fd)
            segment.fd = None
            if not segment.left:
                _unlink(segment.path)

    def _own(self, root: Path) -> Path:
        number = 0
        while not self._lock(slot := root / f"slot-{number}"):
            number += 1
        return slot

    def _left_behind(self, root: Path) -> list[Path]:
        """The other slots that hold something and that nobody holds; they are held from now."""
        others = sorted(path for path in root.glob("slot-*") if path != self._slot)
        found = []
        for slot in others:
            if _segments(slot) and self._lock(slot):
                _LOG.info("settlements in %s are taken on", slot.name)
                found.append(slot)
        return found

    def _lock(self, slot: Path) -> bool:
        slot.mkdir(exist_ok=True, mode=0o700)
        lock = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks.append(lock)
        return True


def sync(paths: list[Path]) -> None:
    """Brings files, and their names, to the disk itself. Blocks: it is for a thread.

    Raises OSError when the disk has not taken them.
    """
    for path in [*paths, *{path.parent for path in paths}]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # Dealt with meanwhile.
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _segments(slot: Path) -> list[Path]:
    return sorted(path for path in slot.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _LOG.error("a spooled file cannot be deleted: %s", error)
