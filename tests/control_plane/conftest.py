"""A whole control plane in the test's own process: real store, real routes, scripted engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from inventory.settings import load_settings
from tests.control_plane.harness import Clock, Harness, running

Start = Callable[..., AbstractAsyncContextManager[Harness]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Start:
    """Starts a control plane over the test's own state directory; again is a restart."""

    @asynccontextmanager
    async def started(*settings: str, api_key: str | None = None) -> AsyncIterator[Harness]:
        async with running(tmp_path, clock, load_settings(settings), api_key) as harness:
            yield harness

    return started


@pytest.fixture
async def control(start: Start) -> AsyncIterator[Harness]:
    async with start() as harness:
        yield harness
