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
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from contracts.problems import ProblemError
from control_plane.store.batch import Outcome, Work, run_batch, too_late
from control_plane.store.migrations import SchemaError, migrate
from control_plane.store.syncing import Syncing

log = logging.getLogger(__name__)

T = TypeVar("T")
Transaction = Callable[[sqlite3.Connection], T]
_Call = tuple[Work, asyncio.Future[Outcome]]
_Told = tuple[asyncio.Future[Outcome], Outcome]

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
        self._syncing = Syncing(self.path)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
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
        self._syncing.close()

    async def read(self, work: Transaction[T]) -> T:
        """Runs `work` on one consistent view. Raises ProblemError 503 after the
        timeout, or when the disk fails."""
        return await self._run(work, writes=False, durable=False)

    async def write(self, work: Transaction[T], *, durable: bool = False) -> T:
        """Runs `work` in a transaction: all of it, or nothing when it raises or is late.

        It may be run twice: what it does must depend on the database alone.

        A commit survives a crash of this process; with `durable` also the loss of power
        (one sync for all that wait), for what the caller is told has been kept for good.
        Should that sync fail it raises, but what was committed stands.

        Raises ProblemError 503 after the timeout, or when the disk fails.
        """
        return await self._run(work, writes=True, durable=durable)

    async def write_each(
        self, works: Sequence[Transaction[T]], *, durable: bool = False
    ) -> list[T | ProblemError]:
        """Runs each of `works` as `write` does, in one go: each is all or nothing by itself.

        Returns their results in order, in place of a refusal the refusal.
        """
        return await self._run_each(works, writes=True, durable=durable)

    async def _run(self, work: Transaction[T], *, writes: bool, durable: bool) -> T:
        (result,) = await self._run_each([work], writes=writes, durable=durable)
        if isinstance(result, ProblemError):
            raise result
        return result

    async def _run_each(
        self, runs: Sequence[Transaction[T]], *, writes: bool, durable: bool
    ) -> list[T | ProblemError]:
        if self._connection is None:
            raise _unavailable("The store is closed.")
        if not runs:
            return []
        loop = asyncio.get_running_loop()
        deadline = self._monotonic() + self._timeout_s
        calls: list[_Call] = [
            (Work(run, writes, durable, deadline), loop.create_future()) for run in runs
        ]
        self._submit(loop, calls)
        futures = [future for _, future in calls]
        try:
            await asyncio.wait(futures, timeout=self._timeout_s)
            return [_result(future) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _submit(self, loop: asyncio.AbstractEventLoop, calls: Sequence[_Call]) -> None:
        """What comes while the thread is busy is one batch after it."""
        with self._lock:
            self._waiting += calls
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
            works = [work for work, _ in batch]
            if self._connection is None:  # closed while these waited
                outcomes = [Outcome(error=_unavailable("The store is closed."))] * len(works)
            else:
                outcomes = run_batch(self._connection, works, self._monotonic)
            self._tell(loop, batch, outcomes)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Call],
        outcomes: Sequence[Outcome],
    ) -> None:
        """Those whose commit has to be kept for good hear of it when it is."""
        now: list[_Told] = []
        synced: list[_Told] = []
        for (work, future), outcome in zip(batch, outcomes, strict=True):
            waits = work.durable and outcome.error is None
            (synced if waits else now).append((future, outcome))
        if synced:
            self._syncing.after(partial(_synced, loop, synced))
        if now:
            loop.call_soon_threadsafe(_deliver, now)

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


def _synced(loop: asyncio.AbstractEventLoop, told: Sequence[_Told], error: OSError | None) -> None:
    if error is not None:
        told = [(future, Outcome(error=error)) for future, _ in told]
    loop.call_soon_threadsafe(_deliver, told)


def _deliver(told: Sequence[_Told]) -> None:
    for future, outcome in told:
        if not future.done():  # else its caller has given up
            future.set_result(outcome)


def _result(future: asyncio.Future[Outcome]) -> Any:
    """What a call is told: its result, or a refusal. Raises what is neither."""
    if not future.done():
        return too_late()
    outcome = future.result()
    if isinstance(outcome.error, sqlite3.OperationalError | OSError):  # disk full, file gone
        log.error("the store failed", exc_info=outcome.error)
        return _unavailable("The store does not work just now.")
    if outcome.error is not None and not isinstance(outcome.error, ProblemError):
        raise outcome.error
    return outcome.error or outcome.result


def _unavailable(detail: str) -> ProblemError:
    return ProblemError("control_plane_unavailable", detail)
