"""One commit for many: each piece all or nothing, none told before it is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DataError, OperationalError

from contracts.problems import ProblemError
from control_plane.store.batch import CommitError, Outcome, Work, run_batch
from tests.control_plane.store.conftest import connected

LATER = 10.0


@pytest.fixture
def connection(url: URL) -> Iterator[Connection]:
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        connection.commit()
        yield connection


def at(now: float) -> Callable[[], float]:
    return lambda: now


def insert(connection: Connection, number: int) -> int:
    return connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number}).rowcount


def add(number: int, deadline: float = LATER) -> Work:
    return Work(lambda c: insert(c, number), False, deadline)


def failing(error: Exception, deadline: float = LATER) -> Work:
    def run(connection: Connection) -> None:
        insert(connection, -1)
        raise error

    return Work(run, False, deadline)


def numbers(connection: Connection) -> list[int]:
    return list(connection.scalars(text("SELECT n FROM t ORDER BY n")))


def committed(connection: Connection) -> list[int]:
    """As another transaction sees it."""
    connection.rollback()
    found = numbers(connection)
    connection.rollback()
    return found


def codes(outcomes: list[Outcome]) -> list[str | None]:
    return [getattr(outcome.error, "code", None) for outcome in outcomes]


def test_all_of_it_is_one_commit(connection: Connection) -> None:
    commits: list[object] = []
    event.listen(connection.engine, "commit", commits.append)
    outcomes = run_batch(connection, [add(1), add(2), add(3)], at(0.0))
    assert [outcome.result for outcome in outcomes] == [1, 1, 1]
    assert len(commits) == 1
    assert committed(connection) == [1, 2, 3]


def test_a_piece_sees_what_the_ones_before_it_did(connection: Connection) -> None:
    look = Work(numbers, False, LATER)
    outcomes = run_batch(connection, [add(1), look, add(2), look], at(0.0))
    assert outcomes[1].result == [1]
    assert outcomes[3].result == [1, 2]


def test_a_piece_that_raises_leaves_nothing_and_disturbs_nobody(connection: Connection) -> None:
    works = [add(1), failing(ProblemError("too_many_streams", "no")), add(2)]
    assert codes(run_batch(connection, works, at(0.0))) == [None, "too_many_streams", None]
    assert committed(connection) == [1, 2]


def test_a_piece_that_raises_alone_leaves_nothing(connection: Connection) -> None:
    works = [failing(ProblemError("too_many_streams", "no"))]
    assert codes(run_batch(connection, works, at(0.0))) == ["too_many_streams"]
    assert committed(connection) == []


def test_a_row_that_the_database_refuses_disturbs_nobody(connection: Connection) -> None:
    works = [add(1), add(1), add(2)]
    refused = [outcome.error is not None for outcome in run_batch(connection, works, at(0.0))]
    assert refused == [False, True, False]
    assert committed(connection) == [1, 2]


def test_what_is_late_has_not_happened(connection: Connection) -> None:
    works = [add(1), add(2, deadline=1.0), add(3)]
    outcomes = run_batch(connection, works, at(5.0))
    assert codes(outcomes) == [None, "control_plane_unavailable", None]
    assert [outcome.result for outcome in outcomes] == [1, None, 1]
    assert committed(connection) == [1, 3]


@pytest.mark.parametrize("also", [[], [failing(ProblemError("overloaded", "no"))]])
def test_what_becomes_late_before_the_commit_has_not_happened(
    connection: Connection, also: list[Work]
) -> None:
    moments = iter([0.0, *[2.0] * 10])
    works = [add(1), add(2, deadline=1.0), *also]
    outcomes = run_batch(connection, works, lambda: next(moments))
    assert codes(outcomes)[:2] == [None, "control_plane_unavailable"]
    assert committed(connection) == [1]


def test_a_batch_that_is_late_as_a_whole_leaves_nothing(connection: Connection) -> None:
    outcomes = run_batch(connection, [add(1, 1.0), add(2, 1.0)], at(5.0))
    assert codes(outcomes) == ["control_plane_unavailable"] * 2
    assert committed(connection) == []


def test_a_transaction_that_is_lost_is_told_to_all(connection: Connection) -> None:
    def lose(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":  # as it does by itself when the disk is full
            connection.exec_driver_sql("ROLLBACK")
            raise OperationalError("", {}, sqlite3.OperationalError("disk is full"))
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OperationalError):
        run_batch(connection, [add(1), Work(lose, False, LATER), add(3)], at(0.0))
    assert committed(connection) == []
    assert [o.result for o in run_batch(connection, [add(2)], at(0.0))] == [1]


def test_a_commit_that_fails_is_told_apart(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise connection.dialect.loaded_dbapi.OperationalError("disk is full")

    monkeypatch.setattr(connection.dialect, "do_commit", full)
    with pytest.raises(CommitError, match="disk is full"):
        run_batch(connection, [add(1)], at(0.0))
    monkeypatch.undo()
    assert committed(connection) == []


def test_one_durable_piece_makes_the_batch_durable(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        pytest.skip("its file is synced beside the transactions")

    def level(connection: Connection) -> str:
        return str(connection.scalar(text("SHOW synchronous_commit")))

    plain, kept = Work(level, False, LATER), Work(level, True, LATER)
    for _ in range(2):
        assert [o.result for o in run_batch(connection, [plain, kept], at(0.0))] == ["on"] * 2
        assert [o.result for o in run_batch(connection, [plain], at(0.0))] == ["off"]


def test_text_that_a_database_refuses_is_the_fault_of_its_piece(connection: Connection) -> None:
    def zero(connection: Connection) -> object:
        return connection.scalar(text("SELECT CAST(:t AS TEXT)"), {"t": "a\0b"})

    _, outcome = run_batch(connection, [add(1), Work(zero, False, LATER)], at(0.0))
    if connection.dialect.name == "postgresql":
        assert isinstance(outcome.error, DataError)
    assert committed(connection) == [1]
