from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream_broker.playout import Playout
from stream_broker.window import Window
from tests.stream_broker.building import complete, tokens

SMOOTH = {"mode": "smooth", "hold_max_ms": 100}


class Viewer:
    """What a window lets a viewer see, as it comes."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.seen: list[int] = []
        self._moved = asyncio.Event()
        window.listen(self._look)

    def _look(self) -> None:
        self.seen.append(self.window.shown)
        self._moved.set()

    async def until(self, seq: int) -> None:
        async with asyncio.timeout(5):
            while self.window.shown < seq:
                self._moved.clear()
                await self._moved.wait()


@pytest.fixture
async def playout() -> AsyncIterator[Playout]:
    subject = Playout(time.monotonic)
    yield subject
    subject.close()


def say(window: Window, *events: Any) -> None:
    window.append(events)
    window.advance(window.last)


async def test_a_burst_is_spread(playout: Playout) -> None:
    window = Window(10_000)
    playout.pace(window, SMOOTH)
    viewer = Viewer(window)
    say(window, *tokens(1, 4))
    assert window.durable == 4
    assert window.shown < 4
    assert window.read(0, 10_000) == tokens(1, window.shown)
    await viewer.until(4)
    assert len(viewer.seen) > 1
    assert viewer.seen == sorted(set(viewer.seen))


async def test_many_jobs_share_a_timer(playout: Playout) -> None:
    windows = [Window(10_000) for _ in range(50)]
    viewers = [Viewer(window) for window in windows]
    for window in windows:
        playout.pace(window, SMOOTH)
        say(window, *tokens(1, 6))
    await asyncio.gather(*(viewer.until(6) for viewer in viewers))
    assert all(len(viewer.seen) > 1 for viewer in viewers)


async def test_the_end_is_not_held_back(playout: Playout) -> None:
    window = Window(10_000)
    playout.pace(window, SMOOTH)
    say(window, *tokens(1, 4), complete(5))
    assert window.shown == 5
    assert window.ended


async def test_a_policy_of_off_holds_nothing(playout: Playout) -> None:
    window = Window(10_000)
    playout.pace(window, {"mode": "off"})
    say(window, *tokens(1, 4))
    assert window.shown == 4


async def test_pacing_begins_where_the_window_is_and_only_once(playout: Playout) -> None:
    window = Window(10_000)
    say(window, *tokens(1, 4))
    playout.pace(window, SMOOTH)
    gate = window.gate
    playout.pace(window, SMOOTH)
    assert window.gate is gate
    assert window.shown == 4
