"""A PostgreSQL's commits survive the loss of power, and a grant does not wait for that."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from sqlalchemy import URL, Connection, text

from control_plane.store.database import Database
from control_plane.store.disks import ServerDisk
from control_plane.store.statements import Query
from control_plane.store.syncing import SyncError, Syncing
from tests.control_plane.harness import NOW
from tests.control_plane.store.test_database import add, count
from tests.support import postgres_server
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer


@pytest.fixture
def empty(postgres: PostgresServer) -> URL:
    return postgres.fresh()


@pytest.fixture
def disk(empty: URL) -> Iterator[ServerDisk]:
    disk = ServerDisk(empty, 5.0)
    disk.prepare()
    yield disk
    disk.close()


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    database = Database(postgres.fresh(), timeout_s=5.0)
    await database.open(NOW)
    eventually(lambda: database._syncing.mark() is not None)
    yield database
    await database.close()


def level(connection: Connection) -> str:
    return str(connection.scalar(text("SHOW synchronous_commit")))


async def test_a_commit_waits_for_the_disk_beside_the_transaction(database: Database) -> None:
    inserted = text("SELECT pg_current_wal_insert_lsn()")
    flush = text("SELECT pg_current_wal_flush_lsn() >= CAST(:lsn AS pg_lsn)")

    def kept(connection: Connection) -> tuple[str, str]:
        add(connection)
        return level(connection), str(connection.scalar(inserted))

    how, lsn = await database.run(kept, durable=True)
    assert how == "off"
    assert await database.run(lambda c: c.scalar(flush, {"lsn": lsn}))


def test_what_is_committed_before_a_disk_was_lost_is_not_told_as_kept(disk: ServerDisk) -> None:
    syncing, told, done = Syncing(disk), [], threading.Event()

    def tell(error: Exception | None) -> None:
        told.append(error)
        done.set()

    before = syncing.mark()
    assert before is not None
    disk.forget()
    assert syncing.mark() is None  # and it is fetched anew
    eventually(lambda: syncing.mark() is not None)
    assert syncing.mark() is not before
    syncing.after(before, tell)
    assert done.wait(5)
    assert isinstance(told[0], SyncError)
    syncing.close()


def test_a_connection_that_was_cut_is_an_error_and_then_another(
    disk: ServerDisk, postgres: PostgresServer, empty: URL
) -> None:
    before = disk.mark()
    assert disk.sync() is before
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    postgres.command(str(empty.database), f"{cut} AND datname = current_database()")
    with pytest.raises(SyncError):
        disk.sync()
    assert disk.mark() is None
    disk.prepare()
    assert disk.sync() is disk.mark() is not before


async def test_without_a_disk_beside_it_syncs_within_its_commits(database: Database) -> None:
    database._syncing.forget()
    assert await database.run(level, durable=True) == "on"
    eventually(lambda: database._syncing.mark() is not None)
    assert await database.run(level, durable=True) == "off"


async def test_durable_work_goes_on_over_a_restart_of_the_server() -> None:
    if reason := postgres_server.reason_to_skip():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.start()
        database = Database(server.fresh(), timeout_s=5.0)
        await database.open(NOW)
        await database.run(add, durable=True)
        server.restart()
        await database.run(partial(add, name="silver"), durable=True)
        assert await database.run(count) == 2
        await database.close()
    finally:
        server.stop()


async def test_a_statement_by_itself_needs_no_transaction(database: Database) -> None:
    def inside(connection: Connection) -> bool:
        return connection.in_transaction()

    assert await database.run(inside) is True
    assert await database.run(inside, alone=lambda: Query("SELECT 1", {}, bool)) is False
