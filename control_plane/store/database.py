"""SQLite behind one thread: the event loop never waits for a disk.

The thread is the only writer, so a transaction never meets another one, and what it
reads stays true until it commits. Calls that come while it works share the next commit.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from contracts.problems import ProblemError
from control_plane.store.batch import Outcome, Work, run_batch, too_late
from control_plane.store.migrations import SchemaError, migrate

log = logging.getLogger(__name__)

T = TypeVar("T")
Transaction = Callable[[sqlite3.Connection], T]

FILE_NAME: Final = "control.sqlite3"
# What is committed together at most: bounds how long one call waits for the others.
BATCH: Final = 64


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
        self._lock = threading.Lock()
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._busy = False

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
        return await self._run(work, writes=False, durable=False)

    async def write(self, work: Transaction[T], *, durable: bool = False) -> T:
        """Runs `work` in a transaction: all of it, or nothing when it raises or is late.

        It may be run twice: what it does must depend on the database alone.

        A commit survives a crash of this process; with `durable` also the loss of power
        (one fsync), for what the caller is told has been kept for good.

        Raises ProblemError 503 after the timeout, or when the disk fails.
        """
        return await self._run(work, writes=True, durable=durable)

    async def _run(self, run: Transaction[T], *, writes: bool, durable: bool) -> T:
        if self._connection is None:
            raise _unavailable("The store is closed.")
        loop = asyncio.get_running_loop()
        work = Work(run, writes, durable, self._monotonic() + self._timeout_s)
        future: asyncio.Future[T] = loop.create_future()
        self._submit(loop, work, future)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            raise too_late() from None
        except sqlite3.OperationalError as error:  # disk full, file gone, I/O error
            log.exception("the store failed")
            raise _unavailable("The store does not work just now.") from error

    def _submit(
        self, loop: asyncio.AbstractEventLoop, work: Work, future: asyncio.Future[Any]
    ) -> None:
        """What comes while the thread is busy is one batch after it."""
        with self._lock:
            self._waiting.append((work, future))
            if self._busy:
                return
            self._busy = True
        self._thread.submit(self._drain, loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                self._busy = bool(batch)
            if not batch:
                return
            works, futures = [work for work, _ in batch], [future for _, future in batch]
            if self._connection is None:  # closed while these waited
                outcomes = [Outcome(error=_unavailable("The store is closed."))] * len(works)
            else:
                outcomes = run_batch(self._connection, works, self._monotonic)
            loop.call_soon_threadsafe(_deliver, futures, outcomes)

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


def _deliver(futures: Sequence[asyncio.Future[Any]], outcomes: Sequence[Outcome]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if future.done():  # its caller has given up
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.result)


def _unavailable(detail: str) -> ProblemError:
    return ProblemError("control_plane_unavailable", detail)
