"""The database behind one thread: the event loop never waits for a disk or a server.

The thread is the only writer, so a transaction never meets another one, and what it
reads stays true until it commits. Calls that come while it works share the next commit.
Reports, which may take long, are read beside it by a thread that cannot write.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from contracts.problems import ProblemError
from control_plane.store.batch import Outcome, Work, run_alone, run_batch, too_late
from control_plane.store.disks import FileDisk, ServerDisk
from control_plane.store.engines import make_engine
from control_plane.store.migrate import SchemaError, migrate
from control_plane.store.reports import Reports
from control_plane.store.syncing import Syncing

log = logging.getLogger(__name__)

T = TypeVar("T")
Transaction = Callable[[Connection], T]
_Call = tuple[Work, asyncio.Future[Any]]
_Told = tuple[asyncio.Future[Any], Outcome]

# What is committed together at most: bounds how long one call waits for the others.
BATCH: Final = 64
# Calls that may wait; more are refused at once.
WAITING_MAX: Final = 4096


class StoreError(Exception):
    """The store cannot be opened; one line that names it and the reason."""


class Database:
    """`open` before use, `close` after. `timeout_s` bounds waiting and work of one call."""

    def __init__(
        self,
        url: URL,
        *,
        timeout_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._reports = Reports(url)
        self._engine: Engine | None = None
        file = Path(str(url.database)) if _is_file(url) else None
        self._syncing = Syncing(FileDisk(file) if file else ServerDisk(url, timeout_s))
        # A server does what is one statement without a transaction, for less.
        self._apart = file is None
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._busy = False

    async def open(self, now: float) -> None:
        """Brings the schema up to date, made where there is none. Raises StoreError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare, now)

    async def close(self) -> None:
        """Ends the running transaction in peace, then the threads. Idempotent."""
        engine, self._engine = self._engine, None
        await self._reports.close()
        if engine is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, engine.dispose)
        self._thread.shutdown()
        self._syncing.close()

    async def run(self, work: Transaction[T], *, durable: bool = False, alone: bool = False) -> T:
        """Runs `work` in a transaction: all of it, or nothing when it raises or is late.

        It may be run twice: what it does must depend on the database alone.

        A commit survives a crash of this process; with `durable` also the loss of power,
        for what the caller is told has been kept for good. `alone`: see Work.

        Raises ProblemError 503 after the timeout, or when the database fails: then it may
        have been kept all the same. Raises IntegrityError or DataError for rows that the
        database will never take; then it has not.
        """
        if self._engine is None:
            raise _closed()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        entry = Work(work, durable, self._monotonic() + self._timeout_s, alone)
        self._submit(loop, entry, future)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            raise too_late() from None
        except (IntegrityError, DataError):
            raise
        except DBAPIError as error:
            log.error("the store failed: %s", error.orig)
            raise _failed() from error

    async def read(self, work: Transaction[T]) -> T:
        """Reads what may take long; holds nobody up but others who read.

        Raises ProblemError 503 when it takes too long, or the database fails.
        """
        if self._engine is None:
            raise _closed()
        return await self._reports.read(work)

    def _submit(
        self, loop: asyncio.AbstractEventLoop, work: Work, future: asyncio.Future[Any]
    ) -> None:
        """What comes while the thread is busy is one batch after it."""
        with self._lock:
            if len(self._waiting) >= WAITING_MAX:
                raise _unavailable("The store has too much to do.")
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
            for some in self._parts(batch):
                self._tell(loop, some, *self._outcomes([work for work, _ in some]))

    def _parts(self, batch: list[_Call]) -> list[list[_Call]]:
        """What is done together, in order."""
        if not self._apart:
            return [batch]
        parts: list[list[_Call]] = []
        for alone, group in groupby(batch, lambda call: call[0].alone):
            calls = list(group)
            parts += [[call] for call in calls] if alone else [calls]
        return parts

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Call],
        outcomes: Sequence[Outcome],
        mark: object | None,
    ) -> None:
        """Those whose commit has to be kept for good hear of it when it is. `mark`: the disk
        that they are to wait for, if they are."""
        now: list[_Told] = []
        synced: list[_Told] = []
        for (work, future), outcome in zip(batch, outcomes, strict=True):
            waits = mark is not None and work.durable and outcome.error is None
            (synced if waits else now).append((future, outcome))
        if synced:
            self._syncing.after(mark, partial(_synced, loop, synced))
        if now:
            loop.call_soon_threadsafe(_deliver, now)

    def _outcomes(self, works: Sequence[Work]) -> tuple[list[Outcome], object | None]:
        """Also the disk that is to be synced after them. Never raises: the thread must go on
        whatever happens."""
        mark = self._syncing.mark() if any(work.durable for work in works) else None
        try:
            return self._try(works, beside=mark is not None), mark
        except Exception as error:
            self._syncing.forget()
            if not (isinstance(error, DBAPIError) and error.connection_invalidated):
                return _all_failed(works, error), None
        # The server was started anew, or cut an idle connection: that is seen at the next
        # use only, and nothing was committed.
        try:
            return self._try(works, beside=False), None
        except Exception as error:
            return _all_failed(works, error), None

    def _try(self, works: Sequence[Work], *, beside: bool) -> list[Outcome]:
        """`beside`: commits are synced after them."""
        engine, now = self._engine, self._monotonic()
        if engine is None:  # closed while these waited
            return [Outcome(error=_closed()) for _ in works]
        if all(work.deadline < now for work in works):
            return [Outcome(error=too_late()) for _ in works]
        if beside:
            works = [msgspec.structs.replace(work, durable=False) for work in works]
        with engine.connect() as connection:
            if self._apart and len(works) == 1 and works[0].alone and not works[0].durable:
                return [run_alone(connection, works[0], self._monotonic)]
            return run_batch(connection, works, self._monotonic)

    def _prepare(self, now: float) -> None:
        with _told(self.url):
            self._engine = _migrated(self.url, self._timeout_s, now, beside=False)
            self._syncing.mark()


def migrate_beside(url: URL, now: float, timeout_s: float = 1.0) -> None:
    """Brings the schema up to date, also while a control plane works with the database; no
    step waits for that one longer than `timeout_s`. Raises StoreError."""
    with _told(url):
        _migrated(url, timeout_s, now, beside=True).dispose()


def _migrated(url: URL, timeout_s: float, now: float, *, beside: bool) -> Engine:
    if url.database and _is_file(url):
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = make_engine(url, timeout_s, beside=beside)
    try:
        with engine.begin() as connection:
            migrate(connection, now)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def _told(url: URL) -> Iterator[None]:
    """What keeps it from being opened is told as StoreError."""
    name = url.render_as_string(hide_password=True)
    try:
        yield
    except OSError as error:
        raise StoreError(f"{name}: cannot be opened: {error.strerror}") from error
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise StoreError(f"{name}: cannot be opened: {reason}") from error
    except SchemaError as error:
        raise StoreError(f"{name}: cannot be opened: {error}") from error


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _synced(
    loop: asyncio.AbstractEventLoop, told: Sequence[_Told], error: Exception | None
) -> None:
    if error is not None:
        log.error("the store cannot be synced: %s", error)
        told = [(future, Outcome(error=_failed())) for future, _ in told]
    loop.call_soon_threadsafe(_deliver, told)


def _deliver(told: Sequence[_Told]) -> None:
    for future, outcome in told:
        if future.done():  # its caller has given up
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.result)


def _all_failed(works: Sequence[Work], error: Exception) -> list[Outcome]:
    """Disk full, file gone, server away: one line for all of them."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.error("the store failed: %s", " ".join(str(cause).split()))
    return [Outcome(error=_failed()) for _ in works]


def _closed() -> ProblemError:
    return _unavailable("The store is closed.")


def _failed() -> ProblemError:
    return _unavailable("The store does not work just now.")


def _unavailable(detail: str) -> ProblemError:
    return ProblemError("control_plane_unavailable", detail)
