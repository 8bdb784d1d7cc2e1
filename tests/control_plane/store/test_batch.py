"""One commit for many: each piece all or nothing, none told before it is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from contracts.problems import ProblemError
from control_plane.store.batch import Outcome, Work, run_batch

LATER = 10.0


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (n INTEGER)")
    yield connection
    connection.close()


def add(number: int, deadline: float = LATER) -> Work:
    return Work(
        lambda c: c.execute("INSERT INTO t VALUES (?)", (number,)).rowcount, True, False, deadline
    )


def failing(error: Exception, deadline: float = LATER) -> Work:
    def run(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (-1)")
        raise error

    return Work(run, True, False, deadline)


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def codes(outcomes: list[Outcome]) -> list[str | None]:
    return [getattr(outcome.error, "code", None) for outcome in outcomes]


def test_all_of_it_is_one_commit(connection: sqlite3.Connection) -> None:
    said: list[str] = []
    connection.set_trace_callback(said.append)
    outcomes = run_batch(connection, [add(1), add(2), add(3)], lambda: 0.0)
    connection.set_trace_callback(None)
    assert [outcome.result for outcome in outcomes] == [1, 1, 1]
    assert said.count("COMMIT") == 1
    assert numbers(connection) == [1, 2, 3]


def test_a_piece_sees_what_the_ones_before_it_did(connection: sqlite3.Connection) -> None:
    look = Work(numbers, False, False, LATER)
    outcomes = run_batch(connection, [add(1), look, add(2), look], lambda: 0.0)
    assert outcomes[1].result == [1]
    assert outcomes[3].result == [1, 2]


def test_a_piece_that_raises_leaves_nothing_and_disturbs_nobody(
    connection: sqlite3.Connection,
) -> None:
    works = [add(1), failing(ProblemError("too_many_streams", "no")), add(2)]
    assert codes(run_batch(connection, works, lambda: 0.0)) == [None, "too_many_streams", None]
    assert numbers(connection) == [1, 2]


def test_what_is_late_has_not_happened(connection: sqlite3.Connection) -> None:
    works = [add(1), add(2, deadline=1.0), add(3)]
    outcomes = run_batch(connection, works, lambda: 5.0)
    assert codes(outcomes) == [None, "control_plane_unavailable", None]
    assert [outcome.result for outcome in outcomes] == [1, None, 1]
    assert numbers(connection) == [1, 3]


def test_a_batch_that_is_late_as_a_whole_leaves_nothing(connection: sqlite3.Connection) -> None:
    outcomes = run_batch(connection, [add(1, 1.0), add(2, 1.0)], lambda: 5.0)
    assert codes(outcomes) == ["control_plane_unavailable"] * 2
    assert numbers(connection) == []
    assert not connection.in_transaction


def test_a_transaction_that_is_lost_is_told_to_all(connection: sqlite3.Connection) -> None:
    def lose(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    outcomes = run_batch(connection, [add(1), Work(lose, True, False, LATER)], lambda: 0.0)
    assert all(isinstance(outcome.error, sqlite3.OperationalError) for outcome in outcomes)
    assert numbers(connection) == []
    assert [o.result for o in run_batch(connection, [add(2)], lambda: 0.0)] == [1]
