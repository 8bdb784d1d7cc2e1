"""Several pieces of work in one transaction: one commit, and one sync, for all of them.

Each piece is all or nothing by itself: one that raises leaves nothing and does not
disturb the others. None is told that it is done before the commit is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Transaction
from sqlalchemy.exc import DBAPIError

from contracts.problems import ProblemError
from control_plane.store.engines import is_lost, transaction
from control_plane.store.statements import Query


class CommitError(Exception):
    """The commit failed: whether it was kept all the same is not known."""


class Work(msgspec.Struct, frozen=True, eq=False):
    """One piece. `deadline` is on the clock of `run_batch`; after it nobody waits any more.

    `durable` work is kept also through the loss of power. `alone`: the same as one statement
    of a server, which wants no transaction, nor a thread that waits for it.
    """

    run: Callable[[Connection], Any]
    durable: bool
    deadline: float
    alone: Query[Any] | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What came of a piece: its result, or what it raised."""

    result: Any = None
    error: BaseException | None = None


def run_batch(
    connection: Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    """Runs all of `works` in order; their outcomes in order.

    What is late, also what is late only at the commit, has not happened: its caller was
    told so. Raises DBAPIError when the database cannot be worked with; then nothing has
    happened; or CommitError.
    """
    now = clock()
    in_time = [work for work in works if work.deadline >= now]
    done = iter(_run(connection, in_time, clock) if in_time else [])
    late = Outcome(error=too_late())
    return [next(done) if work.deadline >= now else late for work in works]


def run_alone(connection: Connection, work: Work, clock: Callable[[], float]) -> Outcome:
    """Runs one piece that is `alone`, and not `durable`, on a server. Raises DBAPIError when
    the connection is lost; then it may have happened."""
    if work.deadline < clock():
        return Outcome(error=too_late())
    try:
        return Outcome(work.run(connection))
    except Exception as error:
        if is_lost(connection, error):
            raise
        return Outcome(error=error)


def _run(
    connection: Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    """Without savepoints first: on a server they are two round trips for each piece, and
    hardly ever does one raise."""
    with transaction(connection, any(work.durable for work in works)) as begun:
        try:
            outcomes = [Outcome(work.run(connection)) for work in works]
        except Exception as error:
            if is_lost(connection, error):
                raise
            if len(works) == 1:
                return [Outcome(error=error)]
        else:
            if _commit_in_time(connection, begun, works, clock):
                return outcomes
            begun.rollback()
            # Work depends on the database alone: it may be done again.
            return run_batch(connection, works, clock)
    return _run_apart(connection, works, clock)


def _run_apart(
    connection: Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    with transaction(connection, any(work.durable for work in works)) as begun:
        outcomes = [_run_one(connection, work) for work in works]
        if _commit_in_time(connection, begun, works, clock):
            return outcomes
    return run_batch(connection, works, clock)


def _run_one(connection: Connection, work: Work) -> Outcome:
    try:
        with connection.begin_nested():
            return Outcome(work.run(connection))
    except Exception as error:
        if is_lost(connection, error):
            raise
        return Outcome(error=error)


def _commit_in_time(
    connection: Connection, begun: Transaction, works: Sequence[Work], clock: Callable[[], float]
) -> bool:
    """False: somebody gave up meanwhile, and nothing is committed."""
    now = clock()
    if any(work.deadline < now for work in works):
        return False
    try:
        begun.commit()
    except DBAPIError as error:
        # The transaction may still be open; the next one needs a connection without it.
        connection.invalidate()
        raise CommitError(" ".join(str(error.orig).split())) from error
    return True


def too_late() -> ProblemError:
    """What is told of work that was not done in time."""
    return ProblemError("control_plane_unavailable", "The store did not answer in time.")
