"""Work that repeats: it goes on after a failure and ends with its owner."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.background import repeating


async def test_a_failed_round_is_logged_and_the_next_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = asyncio.Queue[int]()

    async def action() -> None:
        rounds.put_nowait(rounds.qsize())
        if rounds.qsize() == 1:
            raise ValueError("once")

    async with repeating("the work", 0, action):
        for _ in range(2):
            await asyncio.wait_for(rounds.get(), timeout=5)
    assert "the work failed" in caplog.text


async def test_the_work_ends_with_the_block_also_in_the_middle() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def action() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with repeating("stuck", 1, action):
        await asyncio.wait_for(started.wait(), timeout=5)
    assert ended.is_set()
