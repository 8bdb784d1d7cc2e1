"""The database: the event loop never waits for a disk or a server.

There is one writer (`worker.py`), so a transaction never meets another one, and what it
reads stays true until it commits. Reports, which may take long, are read beside it by a
thread that cannot write.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from control_plane.store.batch import Work, too_late
from control_plane.store.disks import FileDisk, ServerDisk
from control_plane.store.engines import make_engine
from control_plane.store.migrate import SchemaError, migrate
from control_plane.store.reports import Reports
from control_plane.store.statements import Query
from control_plane.store.syncing import Syncing
from control_plane.store.worker import Worker, closed, failed

log = logging.getLogger(__name__)

T = TypeVar("T")
Transaction = Callable[[Connection], T]


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
        self._reports = Reports(url)
        file = Path(str(url.database)) if _is_file(url) else None
        self._syncing = Syncing(FileDisk(file) if file else ServerDisk(url, timeout_s))
        self._worker = Worker(self._syncing, monotonic, server=file is None)

    async def open(self, now: float) -> None:
        """Brings the schema up to date, made where there is none. Raises StoreError."""
        await self._worker.begin(partial(self._prepare, now))

    async def close(self) -> None:
        """Ends the running transaction in peace, then the threads. Idempotent."""
        await self._reports.close()
        await self._worker.end(self._timeout_s)
        self._syncing.close()

    async def run(
        self,
        work: Transaction[T],
        *,
        durable: bool = False,
        alone: Callable[[], Query[T]] | None = None,
    ) -> T:
        """Runs `work` in a transaction: all of it, or nothing when it raises or is late.

        It may be run twice: what it does must depend on the database alone.

        A commit survives a crash of this process; with `durable` also the loss of power,
        for what the caller is told has been kept for good. `alone` makes the same as one
        statement of a server, harmless when it is done twice: where the database is one, it
        needs neither a transaction nor, as a rule, a thread.

        Raises ProblemError 503 after the timeout, or when the database fails: then it may
        have been kept all the same. Raises IntegrityError or DataError for rows that the
        database will never take; then it has not.
        """
        if not self._worker.open:
            raise closed()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        query = alone() if alone is not None and self._worker.server else None
        entry = Work(work, durable, self._monotonic() + self._timeout_s, query)
        self._worker.submit(loop, (entry, future))
        # `asyncio.timeout` costs three times as much, for each grant.
        timer = loop.call_later(self._timeout_s, _give_up, future)
        try:
            return await future
        except (IntegrityError, DataError):
            raise
        except DBAPIError as error:
            log.error("the store failed: %s", error.orig)
            raise failed() from error
        finally:
            timer.cancel()

    async def read(self, work: Transaction[T]) -> T:
        """Reads what may take long; holds nobody up but others who read.

        Raises ProblemError 503 when it takes too long, or the database fails.
        """
        if not self._worker.open:
            raise closed()
        return await self._reports.read(work)

    def _prepare(self, now: float) -> Engine:
        with _told(self.url):
            engine = _migrated(self.url, self._timeout_s, now, beside=False)
            self._syncing.mark()
            return engine


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(too_late())


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
