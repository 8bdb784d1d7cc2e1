"""A PostgreSQL that is ended, started anew, or slow."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import text

from contracts.problems import ProblemError
from control_plane.store.database import Database
from tests.control_plane.harness import NOW
from tests.control_plane.store.test_database import add, count
from tests.support.postgres_server import PostgresServer


async def test_a_server_that_was_started_anew_is_not_noticed(own_server: PostgresServer) -> None:
    database = Database(own_server.fresh(), timeout_s=5.0)
    await database.open(NOW)
    await database.run(add, durable=True)
    assert await database.read(count) == 1
    own_server.restart()
    await database.run(partial(add, name="silver"))
    assert await database.read(count) == 2
    await database.close()


async def test_a_server_that_is_away_is_a_503_until_it_is_back(own_server: PostgresServer) -> None:
    database = Database(own_server.fresh(), timeout_s=5.0)
    await database.open(NOW)
    own_server.kill()
    for _ in range(2):
        for call in (database.run, database.read):
            with pytest.raises(ProblemError, match="control_plane_unavailable"):
                await call(count)
    own_server.start()
    assert await database.run(count) == 0
    assert await database.read(count) == 0
    await database.close()


async def test_what_a_slow_server_was_asked_is_given_up(postgres: PostgresServer) -> None:
    database = Database(postgres.fresh(), timeout_s=0.3)
    await database.open(NOW)
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.run(lambda c: c.execute(text("SELECT pg_sleep(60)")).all())
    release = asyncio.get_running_loop().time() + 10
    while True:  # its statement is cut by the server, not by us
        try:
            assert await database.run(count) == 0
            break
        except ProblemError:
            assert asyncio.get_running_loop().time() < release
    await database.close()
