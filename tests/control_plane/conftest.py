"""A whole control plane in the test's own process: real store, real routes, scripted engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from control_plane.policy_source import PolicySource
from control_plane.store.engines import sqlite_url
from inventory.settings import load_settings
from tests.control_plane.harness import Clock, Harness, running
from tests.support import postgres_server
from tests.support.postgres_server import PostgresServer

Start = Callable[..., AbstractAsyncContextManager[Harness]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server for all tests; each makes a database of its own."""
    if reason := postgres_server.reason_to_skip():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A database with nothing in it, of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "state")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def home(tmp_path: Path) -> URL:
    """Where `start` keeps its state. Tests that want each kind of database say `url` here."""
    return sqlite_url(tmp_path / "state")


@pytest.fixture
def start(home: URL, clock: Clock) -> Start:
    """Starts a control plane over the test's own database; again is a restart."""

    @asynccontextmanager
    async def started(
        *settings: str, api_key: str | None = None, policy: PolicySource | None = None
    ) -> AsyncIterator[Harness]:
        async with running(home, clock, load_settings(settings), api_key, policy) as harness:
            yield harness

    return started


@pytest.fixture
async def control(start: Start) -> AsyncIterator[Harness]:
    async with start() as harness:
        yield harness
