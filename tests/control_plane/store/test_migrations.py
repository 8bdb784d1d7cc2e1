"""The numbered steps of the schema."""

from __future__ import annotations

import sqlite3

import pytest

from control_plane.store.migrations import MIGRATIONS, SchemaError, installed_at, migrate
from tests.control_plane.harness import NOW


def test_migrating_again_changes_nothing(connection: sqlite3.Connection) -> None:
    before = connection.execute("SELECT sql FROM sqlite_master").fetchall()
    migrate(connection, NOW + 100)
    assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == before
    assert installed_at(connection) == NOW


def test_only_the_missing_steps_are_taken(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("CREATE TABLE later (x TEXT) STRICT",)
    monkeypatch.setattr("control_plane.store.migrations.MIGRATIONS", (*MIGRATIONS, step))
    migrate(connection, NOW + 1)
    numbers = connection.execute("SELECT number FROM migrations").fetchall()
    assert numbers == [(n + 1,) for n in range(len(MIGRATIONS) + 1)]


def test_a_schema_of_the_future_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO migrations VALUES (99, 0)")
    with pytest.raises(SchemaError, match="99"):
        migrate(connection, NOW)
