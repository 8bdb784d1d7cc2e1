"""A running job while the one Redis of its log is lost, comes back, or stays away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_broker.engines.deltas import Finish, Text
from stream_broker.live import LiveJob
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import OneStore
from tests.stream_broker.building import JOB, KEYS, LIFETIMES, head
from tests.stream_broker.parts import Parts, ScriptedStream, all_of, running
from tests.support.eventually import eventually_async
from tests.support.redis_server import RedisServer

MUCH = 1 << 20


@dataclass
class Life:
    """A job that streams into a Redis of its own."""

    parts: Parts
    log: RedisLog
    server: RedisServer
    live: LiveJob
    engine: ScriptedStream

    async def say(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.engine.say(Text(f"t{number} "))
        await asyncio.sleep(0)

    @property
    def failures(self) -> int:
        return self.parts.writers["local"].failures


@pytest.fixture
async def life(tmp_path: Path, own_redis: RedisServer) -> AsyncIterator[Life]:
    own_redis.start()
    store = OneStore(own_redis.address, timeout=0.5)
    log = RedisLog(store, KEYS, lease=3.0, **LIFETIMES)
    async with running(tmp_path, log, relay_buffer=4096, max_pause=30.0) as parts:
        job = head(durability="local")
        await log.create(job)
        live = parts.runner.start(job, 1)
        life = Life(parts, log, own_redis, live, await parts.engines.stream())
        await life.say(1, 5)
        await eventually_async(lambda: live.window.durable == 5)
        yield life
        own_redis.go_on()
    log.close()
    await store.aclose()


async def test_a_redis_that_is_restarted_costs_a_pause(life: Life) -> None:
    watch = await life.parts.watch()
    life.server.kill()
    await life.say(6, 9)
    await eventually_async(lambda: life.failures)
    assert life.live.window.durable == 5
    await asyncio.to_thread(life.server.start)
    await eventually_async(lambda: life.live.window.durable == 9)
    life.engine.say(Finish("stop", None))
    events = await all_of(watch)
    assert [event.seq for event in events] == list(range(1, 11))
    assert await life.log.read(JOB, 0, MUCH) == events


async def test_one_that_hangs_pauses_the_engine_and_then_all_goes_on(life: Life) -> None:
    life.server.hang()
    await life.say(6, 60)
    await eventually_async(lambda: life.failures)
    assert life.engine.paused
    assert life.live.window.durable == 5
    life.server.go_on()
    await eventually_async(lambda: life.live.window.durable == 60)
    assert not life.engine.paused


async def test_one_that_stays_away_fails_the_job_in_time(life: Life) -> None:
    watch = await life.parts.watch()
    life.server.kill()
    await life.say(6, 9)
    await eventually_async(lambda: life.failures)
    assert life.live.window.failure is None
    life.parts.monotonic.now += 31.0
    await life.parts.finished()
    events = await all_of(watch)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert watch.feed.failure is not None
    assert watch.feed.failure.body()["code"] == "log_unavailable"
    assert life.engine.closed


async def test_one_that_comes_back_empty_fails_the_job_and_uses_no_number_again(
    life: Life,
) -> None:
    watch = await life.parts.watch()
    life.server.command("FLUSHALL")
    await life.say(6, 9)
    await life.parts.finished()
    events = await all_of(watch)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert watch.feed.failure is not None
    assert await life.log.read(JOB, 0, MUCH) == []


async def test_one_that_refuses_writes_makes_the_job_wait(life: Life) -> None:
    life.server.command("CONFIG", "SET", "maxmemory", 1)
    await life.say(6, 9)
    await eventually_async(lambda: life.failures)
    assert life.live.window.durable == 5
    life.server.command("CONFIG", "SET", "maxmemory", 0)
    await eventually_async(lambda: life.live.window.durable == 9)
