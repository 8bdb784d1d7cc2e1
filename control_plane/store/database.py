"""SQLite behind one thread: the event loop never waits for a disk.

The thread is the only writer, so a transaction never meets another one, and what it
reads stays true until it commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from contracts.problems import ProblemError
from control_plane.store.migrations import SchemaError, migrate

log = logging.getLogger(__name__)

T = TypeVar("T")
Transaction = Callable[[sqlite3.Connection], T]

FILE_NAME: Final = "control.sqlite3"


class StoreError(Exception):
    """The store cannot be opened; one line that names the file and the reason."""


class Database:
    """`open` before use, `close` after. `timeout_s` bounds waiting and work of one call."""

    def __init__(
        self,
        directory: Path,
        *,
        timeout_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = directory / FILE_NAME
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    async def open(self, now: float) -> None:
        """Makes the file where there is none and migrates it. Raises StoreError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connect, now)

    async def close(self) -> None:
        """Ends the running transaction in peace, then the thread. Idempotent."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
        self._thread.shutdown()

    async def read(self, work: Transaction[T]) -> T:
        """Runs `work` on one consistent view. Raises ProblemError 503 after the
        timeout, or when the disk fails."""
        return await self._run(work, "BEGIN", durable=False)

    async def write(self, work: Transaction[T], *, durable: bool = False) -> T:
        """Runs `work` in a transaction: all of it, or nothing when it raises or is late.

        A commit survives a crash of this process; with `durable` also the loss of power
        (one fsync), for what the caller is told has been kept for good.

        Raises ProblemError 503 after the timeout, or when the disk fails.
        """
        return await self._run(work, "BEGIN IMMEDIATE", durable=durable)

    async def _run(self, work: Transaction[T], begin: str, *, durable: bool) -> T:
        if self._connection is None:
            raise _unavailable("The store is closed.")
        deadline = self._monotonic() + self._timeout_s

        def in_thread() -> T:
            return self._transact(work, begin, durable, deadline)

        future = asyncio.get_running_loop().run_in_executor(self._thread, in_thread)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            raise _unavailable("The store did not answer in time.") from None
        except sqlite3.OperationalError as error:  # disk full, file gone, I/O error
            log.exception("the store failed")
            raise _unavailable("The store does not work just now.") from error

    def _transact(self, work: Transaction[T], begin: str, durable: bool, deadline: float) -> T:
        connection = self._connection
        if connection is None:  # closed while this call waited
            raise _unavailable("The store is closed.")
        if durable:
            connection.execute("PRAGMA synchronous = FULL")
        try:
            with _transaction(connection, begin):
                result = work(connection)
                # The caller may have given up: what it was told failed must not happen.
                if self._monotonic() > deadline:
                    raise _unavailable("The store did not answer in time.")
        finally:
            if durable:
                connection.execute("PRAGMA synchronous = NORMAL")
        return result

    def _connect(self, now: float) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = _opened(self.path, self._timeout_s, now)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be opened: {error.strerror}") from error
        except (sqlite3.Error, SchemaError) as error:
            raise StoreError(f"{self.path}: cannot be opened: {error}") from error


def _opened(path: Path, timeout_s: float, now: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, now)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when a disk is full
            connection.execute("ROLLBACK")
        raise


def _unavailable(detail: str) -> ProblemError:
    return ProblemError("control_plane_unavailable", detail)
