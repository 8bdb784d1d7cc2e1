"""Makes commits survive the loss of power, beside the thread that makes them.

A sync takes milliseconds, a commit without one a tenth of that: a grant, on whose answer a
person waits, is not to stand behind the sync of a settlement. SQLite's `synchronous = FULL`
is a sync of the write-ahead log within each commit; here it is one after it, for all
commits since the last.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

Tell = Callable[[OSError | None], None]

_LOG_SUFFIX: Final = "-wal"


class Syncing:
    """The log of one open database in WAL mode; `close` when that is closed."""

    def __init__(self, database: Path) -> None:
        self._log = database.with_name(database.name + _LOG_SUFFIX)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self._lock = threading.Lock()
        self._waiting: list[Tell] = []
        self._busy = False
        self._fd: int | None = None

    def after(self, tell: Tell) -> None:
        """Calls `tell` once all that has been committed so far is kept for good, or with what
        went wrong; from another thread. Never waits."""
        with self._lock:
            self._waiting.append(tell)
            if self._busy:
                return
            self._busy = True
        self._thread.submit(self._drain)

    def close(self) -> None:
        """Returns once everybody has been told. Idempotent."""
        self._thread.shutdown()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _drain(self) -> None:
        while True:
            with self._lock:
                told, self._waiting = self._waiting, []
                self._busy = bool(told)
            if not told:
                return
            error = self._sync()
            for tell in told:
                tell(error)

    def _sync(self) -> OSError | None:
        try:
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
                # The database was closed and opened anew in between.
                os.close(self._fd)
                self._fd = None
            if self._fd is None:
                self._fd = self._open()
            os.fdatasync(self._fd)
        except OSError as error:
            return error
        return None

    def _open(self) -> int:
        """The log, whose entry in the directory is kept for good too. While the database is
        open SQLite writes to this one file."""
        directory = os.open(self._log.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return os.open(self._log, os.O_RDONLY)
