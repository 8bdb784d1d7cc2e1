"""Works on the database in turn: by a thread, or in the event loop where that need not wait.

One connection, and one piece of work on it at a time: a transaction never meets another one,
and what it reads stays true until it commits. What comes while the thread works shares the
next commit.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby, takewhile
from typing import Any, Final

import msgspec
import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from contracts.problems import ProblemError
from control_plane.store.batch import Outcome, Work, run_alone, run_batch, too_late
from control_plane.store.direct import Direct
from control_plane.store.statements import PREPARED, Rows, as_told
from control_plane.store.syncing import Syncing

log = logging.getLogger(__name__)

Call = tuple[Work, asyncio.Future[Any]]
_Told = tuple[asyncio.Future[Any], Outcome]

# What is committed together at most: bounds how long one call waits for the others.
BATCH: Final = 64
# Calls that may wait; more are refused at once.
WAITING_MAX: Final = 4096


class Worker:
    """`begin` before use, `end` after. `server`: the database is one, so that it can do a
    statement by itself; `monotonic` is the clock of the works' deadlines."""

    def __init__(self, syncing: Syncing, monotonic: Callable[[], float], *, server: bool) -> None:
        self._syncing = syncing
        self._monotonic = monotonic
        self.server = server
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._engine: Engine | None = None
        # Whoever is `_busy` has the engine and `_direct` to itself, and nobody else.
        self._direct: Direct | None = None
        self._lock = threading.Lock()
        self._waiting: list[Call] = []
        self._busy = False
        self._released: asyncio.Future[None] | None = None

    async def begin(self, prepare: Callable[[], Engine]) -> None:
        """Works with the engine that `prepare`, on the thread, makes. Raises what that does."""
        loop = asyncio.get_running_loop()
        self._engine = await loop.run_in_executor(self._thread, prepare)

    async def end(self, patience: float) -> None:
        """Ends what is under way in peace; a server that does not answer within `patience`
        seconds is left. What still waits is refused. Idempotent."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await self._let_go(patience)
            await asyncio.get_running_loop().run_in_executor(self._thread, engine.dispose)
        self._thread.shutdown()

    @property
    def open(self) -> bool:
        """Has it begun, and not ended?"""
        return self._engine is not None

    def submit(self, loop: asyncio.AbstractEventLoop, call: Call) -> None:
        """Has it done in its turn. Raises ProblemError 503 when too many wait."""
        with self._lock:
            if len(self._waiting) >= WAITING_MAX:
                raise unavailable("The store has too much to do.")
            self._waiting.append(call)
            if self._busy:
                return
            self._busy = True
        self._go_on(loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """The next of those that wait, and there is one; in the loop, while it is busy."""
        with self._lock:
            work, future = self._waiting[0]
            mark = self._syncing.mark() if work.durable else None
            here = self._answers_here(work) and (mark is not None or not work.durable)
            if here:
                del self._waiting[0]
        if here and self._direct is not None and work.alone is not None:
            self._direct.ask(loop, work.alone, partial(self._heard, loop, (work, future), mark))
        else:
            self._to_thread(loop)

    def _to_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._direct is not None:
            self._direct.leave()
        self._thread.submit(self._drain, loop)

    def _answers_here(self, work: Work) -> bool:
        """Is it a statement that the server has prepared?"""
        if self._direct is None or work.alone is None or self._engine is None:
            return False
        return self._direct.knows(work.alone) and work.deadline >= self._monotonic()

    def _heard(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Call,
        mark: object | None,
        answer: Rows | psycopg.Error,
    ) -> None:
        """What the server answered in the loop."""
        if self._released is not None and not self._released.done():
            self._released.set_result(None)
        if self._direct is not None and self._direct.lost:
            # The thread finds the same, gets another connection, and does it again.
            self._direct = None
            self._syncing.forget()
            with self._lock:
                self._waiting.insert(0, call)
            self._to_thread(loop)
            return
        self._tell(loop, [call], [_outcome(call[0], answer)], mark, _deliver)
        with self._lock:
            self._busy = bool(self._waiting)
            if not self._busy:
                return
        self._go_on(loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        def deliver(told: Sequence[_Told]) -> None:
            loop.call_soon_threadsafe(_deliver, told)

        # The first is for this thread in any case: the loop has found so.
        batch = self._next(loop, least=1)
        while batch:
            for some in self._parts(batch):
                outcomes, mark = self._outcomes([work for work, _ in some])
                self._tell(loop, some, outcomes, mark, deliver)
            batch = self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop, least: int = 0) -> list[Call]:
        """What the thread does next. Nothing: it lets go, and the loop has its turn if anything
        waits."""
        with self._lock:
            batch = self._waiting[:least]
            batch += takewhile(
                lambda call: not self._answers_here(call[0]), self._waiting[least:BATCH]
            )
            del self._waiting[: len(batch)]
            self._busy = bool(batch or self._waiting)
            if self._busy and not batch:
                loop.call_soon_threadsafe(self._go_on, loop)
        return batch

    def _parts(self, batch: list[Call]) -> list[list[Call]]:
        """What is done together, in order."""
        if not self.server:
            return [batch]
        parts: list[list[Call]] = []
        for alone, group in groupby(batch, lambda call: call[0].alone is not None):
            calls = list(group)
            parts += [[call] for call in calls] if alone else [calls]
        return parts

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[Call],
        outcomes: Sequence[Outcome],
        mark: object | None,
        deliver: Callable[[Sequence[_Told]], object],
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
            deliver(now)

    def _outcomes(self, works: Sequence[Work]) -> tuple[list[Outcome], object | None]:
        """Also the disk that is to be synced after them. Never raises: the thread must go on
        whatever happens."""
        mark = self._syncing.mark() if any(work.durable for work in works) else None
        try:
            return self._try(works, beside=mark is not None), mark
        except Exception as error:
            self._direct = None
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
            return [Outcome(error=closed()) for _ in works]
        if all(work.deadline < now for work in works):
            return [Outcome(error=too_late()) for _ in works]
        if beside:
            works = [msgspec.structs.replace(work, durable=False) for work in works]
        with engine.connect() as connection:
            outcomes = self._run(connection, works)
            self._direct = self._direct_of(connection)
        return outcomes

    def _run(self, connection: Connection, works: Sequence[Work]) -> list[Outcome]:
        by_itself = self.server and len(works) == 1 and works[0].alone is not None
        if by_itself and not works[0].durable:
            return [run_alone(connection, works[0], self._monotonic)]
        return run_batch(connection, works, self._monotonic)

    def _direct_of(self, connection: Connection) -> Direct | None:
        """What the loop may use between two turns of the thread."""
        if not self.server or connection.invalidated:
            return None
        raw: Any = connection.connection.dbapi_connection
        if self._direct is not None and self._direct.raw is raw:
            return self._direct
        return Direct(raw, connection.connection.info.setdefault(PREPARED, {}))

    async def _let_go(self, patience: float) -> None:
        """Returns when the loop does not use the connection any more."""
        direct = self._direct
        if direct is not None and direct.asking:
            self._released = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._released
        if direct is not None:
            direct.leave()


def _outcome(work: Work, answer: Rows | psycopg.Error) -> Outcome:
    try:
        if isinstance(answer, psycopg.Error):
            return Outcome(error=as_told(answer, {}, lost=False))
        return Outcome(work.alone.read(answer) if work.alone is not None else None)
    except Exception as error:
        return Outcome(error=error)


def _synced(
    loop: asyncio.AbstractEventLoop, told: Sequence[_Told], error: Exception | None
) -> None:
    if error is not None:
        log.error("the store cannot be synced: %s", error)
        told = [(future, Outcome(error=failed())) for future, _ in told]
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
    return [Outcome(error=failed()) for _ in works]


def closed() -> ProblemError:
    """What is told when the store is closed."""
    return unavailable("The store is closed.")


def failed() -> ProblemError:
    """What is told when the database fails."""
    return unavailable("The store does not work just now.")


def unavailable(detail: str) -> ProblemError:
    """The 503 of a store."""
    return ProblemError("control_plane_unavailable", detail)
