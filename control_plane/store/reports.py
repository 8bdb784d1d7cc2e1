"""Reads that may take long, on a thread and a connection that decisions never wait for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from contracts.problems import ProblemError
from control_plane.store.engines import make_engine

log = logging.getLogger(__name__)

T = TypeVar("T")

# One report at a time; more that wait are refused at once.
WAITING_MAX: Final = 64


class Reports:
    """`close` after use. `timeout_s` bounds each statement, and waiting and work of a call."""

    def __init__(self, url: URL, timeout_s: float = 10.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reports")
        self._engine: Engine | None = None
        self._waiting = 0
        self._closed = False

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that cannot write. Raises ProblemError 503."""
        if self._closed:
            raise _unavailable("The store is closed.")
        if self._waiting >= WAITING_MAX:
            raise _unavailable("Too many reports are being made.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._run, work
                )
        except TimeoutError:
            raise _unavailable("The report takes too long.") from None
        except DBAPIError as error:
            log.error("a report failed: %s", " ".join(str(error.orig).split()))
            raise _unavailable("The store does not work just now.") from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Returns when the report that is being made is done. Idempotent."""
        if self._closed:
            return
        self._closed = True
        # Behind what waits: that may still open the engine.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._dispose)
        self._thread.shutdown()

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._engine is None:
            self._engine = make_engine(self._url, self._timeout_s, reading=True)
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # The connection was cut while it was idle.
        with self._engine.connect() as connection:
            return work(connection)


def _unavailable(detail: str) -> ProblemError:
    return ProblemError("control_plane_unavailable", detail)
