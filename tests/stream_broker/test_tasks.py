from __future__ import annotations

import asyncio

import pytest

from stream_broker.tasks import end


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
