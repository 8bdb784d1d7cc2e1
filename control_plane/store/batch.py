"""Several pieces of work in one transaction: one commit for all of them.

Each piece is all or nothing by itself: one that raises leaves nothing and does not
disturb the others. None is told that it is done before the commit is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from contracts.problems import ProblemError


class Work(msgspec.Struct, frozen=True, eq=False):
    """One piece. `deadline` is on the clock of `run_batch`; after it nobody waits any more.

    `durable` work counts as done only once it would outlive the loss of power: whoever runs
    the batch sees to that after the commit.
    """

    run: Callable[[sqlite3.Connection], Any]
    writes: bool
    durable: bool
    deadline: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of a piece: its result, or what it raised."""

    result: Any = None
    error: BaseException | None = None


def run_batch(
    connection: sqlite3.Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    """Runs all of `works` in order; their outcomes in order.

    What is late at the commit has not happened: its caller was told so. Never raises.
    """
    try:
        return _transact(connection, works, clock)
    except sqlite3.Error as error:
        _roll_back(connection)
        return [Outcome(error=error)] * len(works)


def _transact(
    connection: sqlite3.Connection, works: Sequence[Work], clock: Callable[[], float]
) -> list[Outcome]:
    writes = any(work.writes for work in works)
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    outcomes = [_run_one(connection, work) for work in works]
    now = clock()
    late = [work.deadline < now for work in works]
    if any(late):
        return _without(connection, works, late, clock)
    connection.execute("COMMIT")
    return outcomes


def _without(
    connection: sqlite3.Connection,
    works: Sequence[Work],
    late: Sequence[bool],
    clock: Callable[[], float],
) -> list[Outcome]:
    """Undoes all and does again what is in time: work depends on the database alone."""
    _roll_back(connection)
    in_time = [work for work, is_late in zip(works, late, strict=True) if not is_late]
    done = iter(_transact(connection, in_time, clock) if in_time else [])
    return [Outcome(error=too_late()) if is_late else next(done) for is_late in late]


def _run_one(connection: sqlite3.Connection, work: Work) -> Outcome:
    connection.execute("SAVEPOINT work")
    try:
        result = work.run(connection)
    except BaseException as error:
        if not connection.in_transaction:
            # SQLite has ended the transaction by itself (disk full): none of it happened.
            raise sqlite3.OperationalError("the transaction was lost") from error
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return Outcome(error=error)
    connection.execute("RELEASE work")
    return Outcome(result)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def too_late() -> ProblemError:
    """What is told of work that was not done in time."""
    return ProblemError("control_plane_unavailable", "The store did not answer in time.")
