"""Migrated databases without their thread, for tests of the SQL itself: one suite, both kinds;
and a server of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, insert

from control_plane.store.engines import make_engine
from control_plane.store.migrate import migrate
from control_plane.store.schema import tiers, users
from tests.control_plane.harness import NOW
from tests.support import postgres_server
from tests.support.postgres_server import PostgresServer


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    """A connection with a transaction that is never committed."""
    if url.database and url.get_backend_name() == "sqlite":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(url, 5.0)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@pytest.fixture
def connection(url: URL) -> Iterator[Connection]:
    """A fresh database with the users `u` and `v`."""
    with connected(url) as connection:
        migrate(connection, NOW)
        connection.execute(insert(tiers).values(name="standard"))
        connection.execute(
            insert(users),
            [{"id": n, "name": n, "tier": "standard", "created_at": NOW} for n in ("u", "v")],
        )
        yield connection


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that may be ended."""
    if reason := postgres_server.reason_to_skip():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
