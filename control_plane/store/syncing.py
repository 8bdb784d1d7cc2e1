"""Makes commits survive the loss of power, beside the thread that makes them.

A sync takes milliseconds, a commit without one a tenth of that: a grant, on whose answer a
person waits, is not to stand behind the sync of a settlement. A database that syncs within
its commits does so in each of them; here it is one sync after them, for all since the last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

# Syncs are this far apart at least: who waits for one can wait a little longer, and what comes
# meanwhile is written and synced together.
_GATHER_S: Final = 0.005

Tell = Callable[[Exception | None], None]


class SyncError(Exception):
    """What was committed may not be kept through a loss of power."""


class Disk(Protocol):
    """What is synced. All but `mark` and `forget` is called by one thread."""

    def mark(self) -> object | None:
        """Stands for the disk behind the commits from now on; None: it is not there, and
        commits have to be synced in themselves. Never waits."""

    def forget(self) -> None:
        """The database may be another one from now on. Never waits."""

    def prepare(self) -> None:
        """Gets a disk that is not there, if that can be had. Never raises."""

    def sync(self) -> object:
        """Syncs what has been committed; returns the mark that this holds for.

        Raises SyncError.
        """

    def close(self) -> None:
        """Lets go of it. Idempotent."""


class Syncing:
    """The disk of one open database; `close` when that is closed."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self._lock = threading.Lock()
        self._waiting: list[tuple[object, Tell]] = []
        self._busy = False

    def mark(self) -> object | None:
        """To be taken before a commit that is to be synced `after`; None: it has to be
        synced in itself. Never waits."""
        found = self._disk.mark()
        if found is None:
            self._wake()
        return found

    def forget(self) -> None:
        """The connection to the database was lost: the next one may lead to another disk."""
        self._disk.forget()

    def after(self, mark: object, tell: Tell) -> None:
        """Calls `tell` once all that has been committed so far is kept for good, or with what
        went wrong; from another thread. Never waits."""
        with self._lock:
            self._waiting.append((mark, tell))
        self._wake()

    def close(self) -> None:
        """Returns once everybody has been told. Idempotent."""
        self._thread.shutdown()
        self._disk.close()

    def _wake(self) -> None:
        with self._lock:
            if self._busy:
                return
            self._busy = True
        self._thread.submit(self._drain)

    def _drain(self) -> None:
        while True:
            self._disk.prepare()
            time.sleep(_GATHER_S)
            with self._lock:
                told, self._waiting = self._waiting, []
                self._busy = bool(told)
            if not told:
                return
            error, synced = self._sync()
            for mark, tell in told:
                tell(error if error or mark is synced else SyncError("another disk by now"))

    def _sync(self) -> tuple[Exception | None, object]:
        try:
            return None, self._disk.sync()
        except SyncError as error:
            return error, None
