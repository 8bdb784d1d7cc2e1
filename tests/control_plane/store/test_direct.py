"""Statements that the event loop sends to a server and hears the answer of, without a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from contracts.problems import ProblemError
from control_plane.store.database import Database
from control_plane.store.statements import Query, Rows, run_query
from tests.control_plane.harness import NOW
from tests.control_plane.store.test_database import add, count
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer

LENGTH = "SELECT sum(length(name)) FROM json_array_elements_text(%(names)s::json) AS name"
ADD = "INSERT INTO tiers (name) SELECT json_array_elements_text(%(names)s::json) RETURNING name"
SLEEP = "SELECT pg_sleep((%(seconds)s::json ->> 0)::double precision)"


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    database = Database(postgres.fresh(), timeout_s=5.0)
    await database.open(NOW)
    eventually(lambda: database._syncing.mark() is not None)
    yield database
    await database.close()


def where(_: Rows) -> bool:
    """Was the answer read in the thread of the event loop?"""
    return threading.current_thread() is threading.main_thread()


def names(rows: Rows) -> list[str]:
    return [name for (name,) in rows]


async def ask(database: Database, query: Query[Any], *, durable: bool = False) -> Any:
    return await database.run(partial(run_query, query=query), durable=durable, alone=lambda: query)


async def then_idle(database: Database, doing: Awaitable[Any]) -> Any:
    """What the thread answers, once it has let go: it tells before it does so, and what is
    asked in between is its work too."""
    answer = await doing
    eventually(lambda: not database._worker._busy)
    return answer


async def test_what_the_server_has_prepared_is_answered_in_the_loop(database: Database) -> None:
    query = Query(LENGTH, {"names": ["ab", "c"]}, where)
    assert await then_idle(database, ask(database, query)) is False  # the thread prepares it
    assert await ask(database, query) is True
    await then_idle(database, database.run(add))
    assert await ask(database, query) is True
    assert await ask(database, Query(LENGTH, query.rows, names)) == ["3"]


async def test_it_is_kept_for_good_where_that_is_asked(database: Database) -> None:
    statement = ADD.replace("RETURNING name", "RETURNING pg_current_wal_insert_lsn()")
    await then_idle(database, ask(database, Query(statement, {"names": ["a"]}, names)))
    (lsn,) = await ask(database, Query(statement, {"names": ["b"]}, names), durable=True)
    flushed = text("SELECT pg_current_wal_flush_lsn() >= CAST(:lsn AS pg_lsn)")
    assert await database.run(lambda c: c.scalar(flushed, {"lsn": lsn})) is True


async def test_more_than_the_socket_takes_at_once_arrives(database: Database) -> None:
    await then_idle(database, ask(database, Query(LENGTH, {"names": []}, names)))
    many = ["x" * 1000] * 8000
    assert await ask(database, Query(LENGTH, {"names": many}, names)) == ["8000000"]
    assert await ask(database, Query(LENGTH, {"names": many}, where)) is True


async def test_what_the_server_refuses_is_told_and_the_next_is_answered(database: Database) -> None:
    assert await then_idle(database, ask(database, Query(ADD, {"names": ["a"]}, names))) == ["a"]
    for _ in range(2):
        with pytest.raises(IntegrityError):
            await ask(database, Query(ADD, {"names": ["a"]}, names))
    assert await ask(database, Query(ADD, {"names": ["b"]}, where)) is True
    assert await database.run(count) == 2


async def test_what_cannot_be_read_does_not_stop_the_others(database: Database) -> None:
    def unreadable(_: Rows) -> None:
        raise LookupError

    await then_idle(database, ask(database, Query(LENGTH, {"names": []}, names)))
    with pytest.raises(LookupError):
        await ask(database, Query(LENGTH, {"names": []}, unreadable))
    assert await ask(database, Query(LENGTH, {"names": ["a"]}, names)) == ["1"]


async def test_rows_that_are_no_json_do_not_stop_the_others(database: Database) -> None:
    await then_idle(database, ask(database, Query(LENGTH, {"names": []}, names)))
    with pytest.raises(TypeError):
        await ask(database, Query(LENGTH, {"names": [object()]}, names))
    assert await ask(database, Query(LENGTH, {"names": ["a"]}, names)) == ["1"]


async def test_statements_and_transactions_that_come_together_are_each_done_once(
    database: Database,
) -> None:
    await then_idle(database, ask(database, Query(ADD, {"names": ["first"]}, names)))

    def one(number: int) -> Any:
        if number % 3:
            return ask(database, Query(ADD, {"names": [f"n{number}"]}, names), durable=number % 2)
        return database.run(partial(add, name=f"n{number}"), durable=bool(number % 2))

    await asyncio.gather(*map(one, range(300)))
    assert await database.run(count) == 301


async def test_a_caller_that_leaves_takes_nothing_from_the_next(database: Database) -> None:
    query = Query(SLEEP, {"seconds": [0.0]}, where)
    await then_idle(database, ask(database, query))
    left = asyncio.create_task(ask(database, Query(SLEEP, {"seconds": [0.3]}, where)))
    await asyncio.sleep(0)  # it has been sent
    left.cancel()
    assert await ask(database, query) is True
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_a_server_that_was_started_anew_is_not_noticed(own_server: PostgresServer) -> None:
    database = Database(own_server.fresh(), timeout_s=5.0)
    await database.open(NOW)
    eventually(lambda: database._syncing.mark() is not None)
    await then_idle(database, ask(database, Query(ADD, {"names": ["a"]}, names), durable=True))
    assert await ask(database, Query(ADD, {"names": ["b"]}, where), durable=True) is True
    own_server.restart()
    assert await then_idle(database, ask(database, Query(ADD, {"names": ["c"]}, where))) is False
    assert await ask(database, Query(ADD, {"names": ["d"]}, where)) is True
    assert await database.run(count) == 4
    await database.close()


async def test_a_server_that_dies_under_a_statement_is_a_503_until_it_is_back(
    own_server: PostgresServer,
) -> None:
    database = Database(own_server.fresh(), timeout_s=5.0)
    await database.open(NOW)
    await then_idle(database, ask(database, Query(SLEEP, {"seconds": [0.0]}, where)))
    asked = asyncio.create_task(ask(database, Query(SLEEP, {"seconds": [60.0]}, where)))
    await asyncio.sleep(0)  # it has been sent
    own_server.kill()
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await asked
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await ask(database, Query(SLEEP, {"seconds": [0.0]}, where))
    own_server.start()
    assert (
        await then_idle(database, ask(database, Query(SLEEP, {"seconds": [0.0]}, where))) is False
    )
    assert await ask(database, Query(SLEEP, {"seconds": [0.0]}, where)) is True
    await database.close()


async def test_a_close_waits_for_an_answer_that_comes(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    database = Database(url, timeout_s=5.0)
    await database.open(NOW)
    await then_idle(database, ask(database, Query(SLEEP, {"seconds": [0.0]}, where)))
    asked = asyncio.create_task(ask(database, Query(SLEEP, {"seconds": [0.2]}, where)))
    await asyncio.sleep(0)  # it has been sent
    await database.close()
    assert await asked is True


async def test_a_close_leaves_a_server_that_does_not_answer(own_server: PostgresServer) -> None:
    database = Database(own_server.fresh(), timeout_s=0.5)
    await database.open(NOW)
    # Else the thread that syncs may be connecting when the server stops.
    eventually(lambda: database._syncing.mark() is not None)
    await then_idle(database, ask(database, Query(SLEEP, {"seconds": [0.0]}, where)))
    own_server.freeze()
    try:
        asked = asyncio.create_task(ask(database, Query(SLEEP, {"seconds": [0.0]}, where)))
        await asyncio.sleep(0)  # it has been sent
        await database.close()
        with pytest.raises(ProblemError, match="control_plane_unavailable"):
            await asked
    finally:
        own_server.thaw()
