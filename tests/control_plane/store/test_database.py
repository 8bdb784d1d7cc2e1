"""The store's thread: whole transactions, bounded waiting, a file that is looked after."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from contracts.problems import ProblemError
from control_plane.store.database import FILE_NAME, Database, StoreError
from control_plane.store.migrations import MIGRATIONS

NOW = 1_800_000_000.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "state", timeout_s=5.0)
    await database.open(NOW)
    yield database
    await database.close()


def add_user(connection: sqlite3.Connection, name: str = "u") -> None:
    connection.execute("INSERT INTO users VALUES (?, 'standard', 0)", (name,))


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        add_user(connection)
        raise ProblemError("too_many_streams", "no")

    with pytest.raises(ProblemError, match="too_many_streams"):
        await database.write(half)
    assert await database.read(count) == 0


async def test_work_never_runs_on_the_event_loop(database: Database) -> None:
    assert await database.read(lambda _: threading.get_ident()) != threading.get_ident()


async def test_a_stuck_store_is_a_503_and_what_was_late_did_not_happen(tmp_path: Path) -> None:
    database = Database(tmp_path, timeout_s=0.05)
    await database.open(NOW)
    release = threading.Event()

    def stuck(connection: sqlite3.Connection) -> None:
        add_user(connection)
        release.wait()

    calls = [database.write(stuck), database.write(add_user)]
    refused = await asyncio.gather(*calls, return_exceptions=True)
    release.set()
    assert [getattr(problem, "code", None) for problem in refused] == [
        "control_plane_unavailable"
    ] * 2
    await database.close()

    again = Database(tmp_path, timeout_s=5.0)
    await again.open(NOW)
    assert await again.read(count) == 0
    await again.close()


async def test_a_late_transaction_is_rolled_back_in_the_thread(tmp_path: Path) -> None:
    ticks = iter([0.0, 10.0])
    database = Database(tmp_path, timeout_s=5.0, monotonic=lambda: next(ticks, 20.0))
    await database.open(NOW)
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.write(add_user)
    ticks = iter([0.0, 0.0])
    assert await database.read(count) == 0
    await database.close()


async def test_a_failing_disk_is_a_503_and_the_store_goes_on(database: Database) -> None:
    def full(connection: sqlite3.Connection) -> None:
        add_user(connection)
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.write(full)
    await database.write(add_user)
    assert await database.read(count) == 1


async def test_a_durable_write_syncs_and_others_do_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fdatasync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    monkeypatch.setattr("os.fdatasync", noted)
    await database.write(add_user)
    assert synced == []
    await database.write(partial(add_user, name="v"), durable=True)
    assert synced == [f"{database.path}-wal"]


async def test_nobody_waits_for_the_sync_of_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    monkeypatch.setattr("os.fdatasync", slow)
    durable = asyncio.create_task(database.write(add_user, durable=True))
    await begun.wait()
    await database.write(partial(add_user, name="v"))
    assert await database.read(count) == 2
    assert not durable.done()
    go_on.set()
    await durable


async def test_a_sync_that_fails_is_a_503(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", broken)
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.write(add_user, durable=True)


async def test_several_writes_are_each_all_or_nothing(database: Database) -> None:
    def refused(connection: sqlite3.Connection) -> None:
        add_user(connection, "x")
        raise ProblemError("too_many_streams", "no")

    add = [partial(add_user, name=name) for name in ("a", "b")]
    first, problem, last = await database.write_each([add[0], refused, add[1]])
    assert (first, last) == (None, None)
    assert isinstance(problem, ProblemError)
    assert problem.code == "too_many_streams"
    assert await database.read(count) == 2
    assert await database.write_each([]) == []


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    for expected in (1, 2):
        database = Database(tmp_path, timeout_s=5.0)
        await database.open(NOW)
        await database.write(partial(add_user, name=f"u{expected}"))
        assert await database.read(count) == expected
        await database.close()


async def test_a_closed_store_refuses_and_may_be_closed_again(database: Database) -> None:
    await database.close()
    await database.close()
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.read(count)


async def test_the_directory_is_for_the_owner_alone(database: Database) -> None:
    assert database.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"not a database at all" * 100])
async def test_a_file_that_is_no_store_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    await refused(tmp_path, "not a database")


async def test_a_directory_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refused(tmp_path / "file", "exists")


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    database = Database(tmp_path, timeout_s=5.0)
    await database.open(NOW)
    newer = len(MIGRATIONS) + 1
    await database.write(lambda c: c.execute("INSERT INTO migrations VALUES (?, 0)", (newer,)))
    await database.close()
    await refused(tmp_path, "newer")


async def refused(directory: Path, reason: str) -> None:
    database = Database(directory, timeout_s=5.0)
    with pytest.raises(StoreError, match=reason) as caught:
        await database.open(NOW)
    assert "\n" not in str(caught.value)
    assert FILE_NAME in str(caught.value)
    await database.close()
