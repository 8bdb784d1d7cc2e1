"""A migrated database without its thread, for tests of the SQL itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from control_plane.store.migrations import migrate
from tests.control_plane.harness import NOW


def fresh() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection, NOW)
    connection.execute("INSERT INTO users VALUES ('u', 'standard', 0), ('v', 'standard', 0)")
    return connection


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(fresh()) as connection:
        yield connection
