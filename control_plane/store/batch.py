"""Several pieces of work in one transaction: one commit, and one sync, for all of them.

Each piece is all or nothing by itself: one that raises leaves nothing and does not
disturb the others. None is told that it is done before the commit is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from contracts.problems import ProblemError
from control_plane.store.engines import transaction


class Work(msgspec.Struct, frozen=True, eq=False):
    """One piece. `deadline` is on the clock of `run_batch`; after it nobody waits any more.

    `durable` work is kept also through the loss of power.
    """

    run: Callable[[Connection], Any]
    durable: bool
    deadline: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of a piece: its result, or what it raised."""

    result: Any = None
    error: BaseException | None = None


def run_batch(
    connection: Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    """Runs all of `works` in order; their outcomes in order.

    What is late at the commit has not happened: its caller was told so. Raises DBAPIError
    when the database cannot be worked with; then nothing has happened.
    """
    alone = len(works) == 1
    with transaction(connection, any(work.durable for work in works)) as begun:
        outcomes = [_run_one(connection, work, alone=alone) for work in works]
        now = clock()
        in_time = [work for work in works if work.deadline >= now]
        if len(in_time) == len(works):
            if not (alone and outcomes[0].error is not None):
                begun.commit()
            return outcomes
        begun.rollback()
    # Done again without those that are late: work depends on the database alone.
    done = run_batch(connection, in_time, clock) if in_time else []
    return _spread(works, in_time, done)


def _spread(
    works: Sequence[Work], in_time: Sequence[Work], done: Sequence[Outcome]
) -> list[Outcome]:
    by_work = {id(work): outcome for work, outcome in zip(in_time, done, strict=True)}
    late = Outcome(error=too_late())
    return [by_work.get(id(work), late) for work in works]


def _run_one(connection: Connection, work: Work, *, alone: bool) -> Outcome:
    """A piece that is alone needs no savepoint: its transaction is all or nothing."""
    try:
        if alone:
            return Outcome(work.run(connection))
        with connection.begin_nested():
            return Outcome(work.run(connection))
    except DBAPIError as error:
        if error.connection_invalidated or not connection.in_transaction():
            raise
        return Outcome(error=error)
    except Exception as error:
        return Outcome(error=error)


def too_late() -> ProblemError:
    """What is told of work that was not done in time."""
    return ProblemError("control_plane_unavailable", "The store did not answer in time.")
