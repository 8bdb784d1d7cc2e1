"""The last policy snapshot on disk, so that a broker which restarts alone can go on.

Two files, both readable by their owner only and replaced whole: the snapshot, written when
it has changed, and a small stamp, written after every poll that was answered. The stamp
says when that was, in a way that neither a restart nor a step of the clock can stretch
(CONTRACT, promise 8: five minutes from the last poll).
"""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from contracts.policy import PolicySnapshot

_LOG = logging.getLogger(__name__)

_FORMAT: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_INFINITE: Final = float("inf")


class Moment(msgspec.Struct, frozen=True):
    """A time by two clocks: Unix seconds, and seconds since the machine's start, which
    `boot` names and nobody can set. An empty `boot`: the second one is not to be had."""

    unix: float
    up: float
    boot: str

    def before(self, seconds: float) -> Moment:
        """So many seconds ago."""
        return Moment(self.unix - seconds, self.up - seconds, self.boot)

    def since(self, then: Moment) -> float:
        """Seconds since `then`, at least; infinite where that cannot be known.

        Within one run of the machine the clock that cannot be set decides. Across a
        restart there is only the other one, and one that has gone back is not believed.
        """
        if self.boot and self.boot == then.boot:
            return max(0.0, self.up - then.up)
        passed = self.unix - then.unix
        return passed if passed >= 0 else _INFINITE


def now() -> Moment:
    """The present."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When the snapshot of that ETag was last confirmed."""

    etag: str
    at: Moment


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as it is on disk. `control`: the URL of the control plane that gave it."""

    format: int = _FORMAT
    control: str
    stamp: Stamp
    snapshot: PolicySnapshot


class PolicyFile:
    """The files of one broker process, beside `path`. `control` is the URL of its control
    plane: a snapshot of another one is not believed."""

    def __init__(self, path: Path, control: str) -> None:
        self._path = path
        self._stamp_path = path.with_suffix(".stamp")
        self._control = control
        self._written: str | None = None
        self._failing = False

    def load(self) -> Kept | None:
        """What is kept, with its latest stamp; None where there is nothing to be believed."""
        try:
            kept = msgspec.json.decode(_private(self._path), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _LOG.warning("the kept policy is ignored: %s: %s", self._path.name, error)
            return None
        if kept.format != _FORMAT or kept.control != self._control:
            _LOG.warning("the kept policy is ignored: it is another cluster's, or version's")
            return None
        return msgspec.structs.replace(kept, stamp=self._latest(kept.stamp))

    def keep(self, snapshot: PolicySnapshot, stamp: Stamp) -> None:
        """Writes the stamp, and the snapshot if it is another one. Blocks: it is for a
        thread. A disk that does not take it is logged once; the broker goes on without."""
        try:
            if self._written != stamp.etag:
                kept = Kept(control=self._control, stamp=stamp, snapshot=snapshot)
                _replace(self._path, msgspec.json.encode(kept), durable=True)
                self._written = stamp.etag
            # Lost to a power cut, the one before counts: that only makes it older.
            _replace(self._stamp_path, msgspec.json.encode(stamp), durable=False)
        except OSError as error:
            if not self._failing:
                _LOG.error("the policy cannot be kept: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _latest(self, first: Stamp) -> Stamp:
        """The stamp beside the snapshot, if it is of the same; else the snapshot's own."""
        try:
            stamp = msgspec.json.decode(_private(self._stamp_path), type=Stamp)
        except (OSError, ValueError, RecursionError):
            return first
        return stamp if stamp.etag == first.etag else first


def _private(path: Path) -> bytes:
    """A file's content, if nobody else can have written it. Raises OSError or ValueError."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others may write it")
        return file.read()


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    """Puts `content` in the place of a file, so that readers see the old one or the new."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    unfinished.replace(path)
