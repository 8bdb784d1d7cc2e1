"""SQLite's commits survive the loss of power, and nobody waits for that but who must."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from contracts.problems import ProblemError
from control_plane.store.database import Database
from control_plane.store.engines import sqlite_url
from tests.control_plane.harness import NOW
from tests.control_plane.store.test_database import add, count


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(sqlite_url(tmp_path / "state"), timeout_s=5.0)
    await database.open(NOW)
    yield database
    await database.close()


async def test_durable_work_is_synced_and_other_is_not(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fdatasync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    monkeypatch.setattr("os.fdatasync", noted)
    await file.run(add)
    assert synced == []
    await file.run(partial(add, name="silver"), durable=True)
    assert synced == [f"{file.url.database}-wal"]


async def test_nobody_waits_for_the_sync_of_another(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(5)

    monkeypatch.setattr("os.fdatasync", slow)
    durable = asyncio.create_task(file.run(add, durable=True))
    await begun.wait()
    await file.run(partial(add, name="silver"))
    assert await file.run(count) == 2
    assert not durable.done()
    go_on.set()
    await durable


async def test_a_sync_that_fails_is_a_503(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", broken)
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await file.run(add, durable=True)


async def test_a_file_that_was_opened_anew_is_synced_too(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await file.run(add, durable=True)
    with pytest.raises(ProblemError):
        await file.run(lambda c: c.invalidate())
    synced: list[str] = []
    sync = os.fdatasync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    monkeypatch.setattr("os.fdatasync", noted)
    await file.run(partial(add, name="silver"), durable=True)
    assert synced == [f"{file.url.database}-wal"]
