"""When a job has a task of its own, and what becomes of those that have none."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stream_broker.engines.deltas import Finish, Text
from stream_broker.log.redis import RedisLog
from tests.stream_broker.building import JOB, head
from tests.stream_broker.parts import Parts, running
from tests.support.eventually import eventually_async


async def test_a_job_has_no_task_while_its_engine_talks(parts: Parts) -> None:
    await parts.begin()
    await eventually_async(lambda: not parts.runner._tasks)
    parts.engines.streams[0].say(Text("a"))
    finished = asyncio.create_task(parts.runner.finished())
    await asyncio.sleep(0)
    assert parts.runner._tasks == set()
    assert not finished.done()
    parts.engines.streams[0].say(Finish("stop"))
    async with asyncio.timeout(5):
        await finished
    assert len(parts.spool) == 1
    assert parts.runner._runs == {}


async def test_a_job_is_settled_once_however_often_its_end_is_told(parts: Parts) -> None:
    live = await parts.begin()
    live.cancel("client")
    await eventually_async(lambda: live.done)
    live.stored(live.window.last)
    live.cancel("client")
    await parts.finished()
    assert len(parts.spool) == 1


async def test_a_broker_that_ends_hands_its_silent_jobs_over(
    tmp_path: Path, redis_log: RedisLog
) -> None:
    async with running(tmp_path, redis_log) as parts:
        await redis_log.create(head())
        live = parts.runner.start(head(), 1)
        (await parts.engines.stream()).say(Text("a"))
        await eventually_async(lambda: live.window.durable == 1)
        assert parts.runner._tasks == set()
        async with asyncio.timeout(5):
            await parts.runner.aclose()
        assert (live.terminal, live.window.moved) == (None, True)
        assert parts.engines.streams[0].closed
        assert parts.runner.jobs == parts.runner._runs == {}
        assert parts.leases._held == {}
        assert await redis_log.acquire(JOB, 0.0) is not None


async def test_a_job_whose_start_is_cancelled_is_let_go(tmp_path: Path) -> None:
    async with running(tmp_path) as parts:
        hold = asyncio.Event()

        async def never(*_: object) -> None:
            await hold.wait()

        parts.engines.start = never  # type: ignore[method-assign, assignment]
        await parts.log.create(head(durability="none"))
        live = parts.runner.start(head(durability="none"), 1)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await parts.runner.aclose()
        assert live.terminal is not None
        assert parts.runner.jobs == {}
        assert parts.leases._held == {}
