"""The store's thread: whole transactions, bounded waiting, databases that go and come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from contracts.problems import ProblemError
from control_plane.store.database import Database, StoreError, migrate_beside
from control_plane.store.engines import FILE_NAME, sqlite_url
from control_plane.store.schema import tiers
from control_plane.store.worker import BATCH, WAITING_MAX
from tests.control_plane.harness import NOW
from tests.support.postgres_server import PostgresServer


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    database = Database(url, timeout_s=5.0)
    await database.open(NOW)
    yield database
    await database.close()


def add(connection: Connection, name: str = "gold") -> None:
    connection.execute(insert(tiers).values(name=name))


def count(connection: Connection) -> int:
    return connection.scalars(select(func.count()).select_from(tiers)).one()


async def test_work_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        add(connection)
        raise ProblemError("too_many_streams", "no")

    with pytest.raises(ProblemError, match="too_many_streams"):
        await database.run(half)
    assert await database.run(count) == 0


async def test_what_cannot_be_kept_is_told_apart_from_what_cannot_now(database: Database) -> None:
    await database.run(add)
    tried = await asyncio.gather(
        database.run(add), database.run(partial(add, name="silver")), return_exceptions=True
    )
    assert isinstance(tried[0], IntegrityError)
    assert tried[1] is None
    assert await database.run(count) == 2


async def test_work_never_runs_on_the_event_loop(database: Database) -> None:
    threads = {await database.run(lambda _: threading.get_ident())}
    threads.add(await database.read(lambda _: threading.get_ident()))
    assert len(threads | {threading.get_ident()}) == 3


async def test_a_report_sees_what_is_kept_and_writes_nothing(database: Database) -> None:
    await database.run(add)
    assert await database.read(count) == 1
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.read(partial(add, name="silver"))
    assert await database.read(count) == 1


async def test_a_long_report_holds_no_decision_up(database: Database) -> None:
    release = threading.Event()
    report = asyncio.create_task(database.read(lambda _: release.wait(5)))
    await database.run(add)
    release.set()
    assert await report is True


async def test_a_stuck_store_is_a_503_and_what_was_late_did_not_happen(url: URL) -> None:
    database = Database(url, timeout_s=0.3)
    await database.open(NOW)
    async with stuck_thread(database, first=add):
        refused = await asyncio.gather(database.run(add), return_exceptions=True)
    codes = [getattr(problem, "code", None) for problem in refused]
    assert codes == ["control_plane_unavailable"]
    await database.close()

    again = Database(url, timeout_s=5.0)
    await again.open(NOW)
    assert await again.run(count) == 0
    await again.close()


async def test_calls_that_nobody_waits_for_are_not_worked_on(url: URL) -> None:
    database = Database(url, timeout_s=0.3)
    await database.open(NOW)
    worked: list[int] = []
    async with stuck_thread(database):
        calls = [database.run(lambda _: worked.append(1)) for _ in range(BATCH + 1)]
        tried = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, ProblemError) for error in tried)
    await database.close()
    assert worked == []


async def test_too_many_calls_are_refused_at_once(url: URL) -> None:
    database = Database(url, timeout_s=5.0)
    await database.open(NOW)
    async with stuck_thread(database):
        calls = [asyncio.create_task(database.run(count)) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match="too much to do"):
            await database.run(count)
    assert await asyncio.gather(*calls) == [0] * WAITING_MAX
    await database.close()


@asynccontextmanager
async def stuck_thread(
    database: Database, first: Callable[[Connection], object] = count
) -> AsyncIterator[None]:
    """The thread works on one call until the block ends, after `first` in its transaction."""
    begun, release = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        first(connection)
        begun.set()
        release.wait(30)

    call = asyncio.create_task(database.run(work))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        yield
    finally:
        release.set()
        await asyncio.gather(call, return_exceptions=True)


async def test_one_who_leaves_disturbs_nobody(database: Database) -> None:
    async with stuck_thread(database):
        left = asyncio.create_task(database.run(add))
        await asyncio.sleep(0)
        left.cancel()
    assert await database.run(count) == 1


async def test_a_thread_that_is_surprised_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no disk")

    monkeypatch.setattr("control_plane.store.worker.run_batch", broken)
    with pytest.raises(ProblemError, match="control_plane_unavailable"):
        await database.run(count)
    monkeypatch.undo()
    assert await database.run(count) == 0


async def test_what_was_committed_is_there_after_a_restart(url: URL) -> None:
    for expected in (1, 2):
        database = Database(url, timeout_s=5.0)
        await database.open(NOW)
        await database.run(partial(add, name=f"t{expected}"))
        assert await database.run(count) == expected
        await database.close()


async def test_a_closed_store_refuses_and_may_be_closed_again(database: Database) -> None:
    await database.close()
    await database.close()
    for call in (database.run, database.read):
        with pytest.raises(ProblemError, match="control_plane_unavailable"):
            await call(count)


async def test_two_control_planes_never_work_with_one_database(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    first, second = Database(url, timeout_s=0.3), Database(url, timeout_s=0.3)
    await first.open(NOW)
    with pytest.raises(StoreError, match="another control plane"):
        await second.open(NOW)
    await first.close()
    await second.open(NOW)
    await second.close()


async def test_the_schema_is_brought_up_to_date_while_a_control_plane_works(
    postgres: PostgresServer,
) -> None:
    url = postgres.fresh()
    working = Database(url, timeout_s=5.0)
    await working.open(NOW)
    await asyncio.to_thread(migrate_beside, url, NOW)
    await working.run(partial(add, name="t"))
    assert await working.run(count) == 1
    await working.close()


async def test_the_directory_is_for_the_owner_alone(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "state"))
    await database.open(NOW)
    await database.close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_a_file_that_is_no_store_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database at all" * 100)
    await refused(sqlite_url(tmp_path), "not a database")


async def test_a_directory_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refused(sqlite_url(tmp_path / "file"), "exists")


async def test_a_server_that_is_not_there_is_told_in_one_line(postgres: PostgresServer) -> None:
    url = postgres.fresh().set(database="nothing", password="secret")
    assert "secret" not in await refused(url, "does not exist")


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    await database.run(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await database.close()
    await refused(database.url, "newer")


async def refused(url: URL, reason: str) -> str:
    database = Database(url, timeout_s=5.0)
    with pytest.raises(StoreError, match=reason) as caught:
        await database.open(NOW)
    assert "\n" not in str(caught.value)
    assert str(url.database) in str(caught.value)
    await database.close()
    return str(caught.value)
