from __future__ import annotations

import asyncio
import contextlib

import pytest

from stream_broker.tasks import end, together


async def test_tasks_are_cancelled_and_waited_for() -> None:
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    async with asyncio.timeout(5):
        await end(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_swallows_a_cancellation_is_told_again() -> None:
    async def deaf() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end([task])
    assert task.done()


async def test_what_a_task_raised_is_dropped() -> None:
    async def broken() -> None:
        raise KeyError

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end([task])
    assert isinstance(task.exception(), KeyError)
    await end([])


async def test_who_waits_may_be_cancelled_itself() -> None:
    async def deaf() -> None:
        while True:
            try:
                await forever.wait()
                return
            except asyncio.CancelledError:
                continue

    forever = asyncio.Event()
    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await end([task])
    forever.set()
    await task


async def test_who_is_ended_while_it_ends_others_leaves_none_behind() -> None:
    async def deaf() -> None:
        for _ in range(4):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def owner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await end([owned])

    owned = asyncio.create_task(deaf())
    owning = asyncio.create_task(owner())
    await asyncio.sleep(0)
    await end([owning])
    assert owned.done()
    assert owning.cancelled()


async def test_who_ends_others_already_when_it_is_told_ends_them_all_the_same() -> None:
    async def deaf() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    owned = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    owning = asyncio.create_task(end([owned]))
    await asyncio.sleep(0)
    await end([owning])
    assert owned.done()
    assert owning.cancelled()


async def test_together_ends_with_the_last_of_them_also_when_cancelled() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(number):
                await asyncio.sleep(0)
            ended.append(number)

    task = asyncio.create_task(together(work(0), work(5)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await end([task])
    assert ended == [0, 5]


async def test_together_gives_all_results_or_the_first_error() -> None:
    async def give(value: int) -> int:
        if value < 0:
            raise KeyError(value)
        return value

    assert await together(give(1), give(2)) == [1, 2]
    with pytest.raises(KeyError, match="-1"):
        await together(give(1), give(-1), give(-2))
