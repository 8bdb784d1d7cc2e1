"""Calls that come while one is under way are made together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.problems import ProblemError
from control_plane.gathered import Gathered


class Act:
    """Doubles numbers; refuses negative ones. The first call waits for `go`."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = asyncio.Event()
        self.away = False
        self.gathered = Gathered(self, 4)

    async def __call__(self, entries: list[int]) -> list[int]:
        self.calls.append(entries)
        await self.go.wait()
        if self.away:
            raise ProblemError("control_plane_unavailable", "away")
        if min(entries) < 0:
            raise ValueError("negative")
        return [entry * 2 for entry in entries]

    @asynccontextmanager
    async def waiting(self, *entries: int) -> AsyncIterator[list[asyncio.Future[int]]]:
        """Entries that wait while the first call, for 0, is under way."""
        first = self.gathered.add(0)
        await asyncio.sleep(0)
        tasks = [self.gathered.add(entry) for entry in entries]
        assert self.calls == [[0]]
        yield tasks
        self.go.set()
        await asyncio.gather(first, *tasks, return_exceptions=True)


async def test_what_waits_goes_together_and_at_most_so_many() -> None:
    act = Act()
    async with act.waiting(1, 2, 3, 4, 5) as tasks:
        pass
    assert [task.result() for task in tasks] == [2, 4, 6, 8, 10]
    assert act.calls == [[0], [1, 2, 3, 4], [5]]
    assert await act.gathered.add(6) == 12


async def test_one_who_leaves_takes_nobody_along() -> None:
    act = Act()
    async with act.waiting(1, 2, 3, 4, 5) as tasks:
        tasks[0].cancel()
        tasks[4].cancel()
    assert [task.result() for task in tasks[1:4]] == [4, 6, 8]


async def test_a_store_that_is_away_is_told_to_all_and_asked_again_by_nobody() -> None:
    act = Act()
    async with act.waiting(1, 2) as tasks:
        act.away = True
    for task in tasks:
        assert isinstance(task.exception(), ProblemError)
    assert act.calls == [[0], [1, 2]]
    act.away = False
    assert await act.gathered.add(3) == 6


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
async def test_one_that_cannot_be_is_found_and_the_others_go_on(wrong: int) -> None:
    act = Act()
    entries = [-1 if number == wrong else number for number in range(4)]
    async with act.waiting(*entries) as tasks:
        pass
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(wrong), ValueError)
    assert results == [number * 2 for number in range(4) if number != wrong]


async def test_closing_waits_for_what_is_under_way() -> None:
    act = Act()
    async with act.waiting(1, 2, 3, 4) as tasks:
        closing = asyncio.create_task(act.gathered.aclose())
        await asyncio.sleep(0)
        assert not closing.done()
    await closing
    assert all(task.done() for task in tasks)
