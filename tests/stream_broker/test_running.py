from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contracts.grants import Usage
from stream_broker.engines.deltas import Finish, Reasoning, Text
from stream_broker.ids import Home
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.tasks import end
from tests.stream_broker.building import (
    JOB,
    KEYS,
    NOW,
    USER,
    head,
    job_id,
)
from tests.stream_broker.conftest import Timers
from tests.stream_broker.parts import Parts, all_of, running, with_grant
from tests.support.eventually import eventually_async


async def test_a_job_runs_from_its_engine_to_its_settlement(parts: Parts) -> None:
    live = await parts.begin()
    watch = await parts.watch()
    engine = parts.engines.streams[0]
    assert parts.leases._held == {"l-1": USER}
    engine.say(Text("a"), Text("b"))
    engine.say(Finish("stop", Usage(prompt_tokens=3, completion_tokens=2)))
    events = await all_of(watch)
    await parts.finished()
    assert [event.name for event in events] == ["token", "token", "job_complete"]
    assert engine.closed
    assert parts.runner.jobs == {}
    assert parts.leases._held == {}
    assert parts.ended == [live]
    (settlement,) = parts.spool.waiting
    assert (settlement.job_id, settlement.outcome) == (JOB, "completed")
    assert settlement.usage == Usage(prompt_tokens=3, completion_tokens=2)


async def test_the_engine_is_asked_for_what_the_grant_allows(parts: Parts) -> None:
    await parts.begin(with_grant(max_tokens=77))
    call = parts.engines.streams[0].call
    assert (call.max_tokens, call.prefix, call.stop) == (77, "", ())
    assert call.messages == [{"role": "user", "content": "hi"}]


async def test_cancelling_stops_the_engine_and_settles(parts: Parts) -> None:
    await parts.begin()
    assert parts.runner.cancel(JOB, "client")
    assert parts.engines.streams[0].closed
    await parts.finished()
    assert not parts.runner.cancel(JOB, "client")
    assert [settlement.outcome for settlement in parts.spool.waiting] == ["cancelled"]


async def test_a_job_may_be_cancelled_before_its_engine_is_asked(parts: Parts) -> None:
    await parts.log.create(head(durability="none"))
    parts.runner.start(head(durability="none"), 1).cancel("client")
    await parts.finished()
    assert parts.engines.streams == []
    assert len(parts.spool) == 1


async def test_a_job_ends_at_its_deadline(parts: Parts, timers: Timers) -> None:
    parts.clock.now = NOW + 10
    live = await parts.begin(with_grant(deadline_s=100.0))
    await timers.fire(90.0)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["reason"] == "deadline"


async def test_a_job_past_its_deadline_ends_at_once(parts: Parts) -> None:
    parts.clock.now = NOW + 700
    await parts.log.create(head(durability="none"))
    live = parts.runner.start(head(durability="none"), 1)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["reason"] == "deadline"


# Viewers and the grace.


async def test_without_viewers_a_job_ends_after_its_grace(parts: Parts, timers: Timers) -> None:
    live = await parts.begin(with_grant(detach_grace_s=30.0))
    await timers.fire(30.0)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["reason"] == "disconnect"
    assert parts.engines.streams[0].closed


async def test_a_job_without_grace_goes_on_alone(parts: Parts, timers: Timers) -> None:
    await parts.begin()
    (await parts.watch()).close()
    assert [timer.seconds for timer in timers.timers] == [600.0]


async def test_a_viewer_that_comes_ends_the_grace(parts: Parts, timers: Timers) -> None:
    await parts.begin(with_grant(detach_grace_s=30.0))
    watch = await parts.watch()
    assert timers.of(30.0) == []
    watch.close()
    watch.close()
    assert len(timers.of(30.0)) == 1


async def test_the_grace_begins_with_the_last_viewers_leaving(parts: Parts, timers: Timers) -> None:
    await parts.begin(with_grant(detach_grace_s=30.0))
    for _ in range(5):
        (await parts.watch()).close()
    one, two = await parts.watch(), await parts.watch()
    one.close()
    assert timers.of(30.0) == []
    two.close()
    assert len(timers.of(30.0)) == 1


async def test_viewers_that_leave_an_ended_job_begin_no_grace(parts: Parts, timers: Timers) -> None:
    live = await parts.begin(with_grant(detach_grace_s=30.0))
    watch = await parts.watch()
    live.cancel("client")
    watch.close()
    assert timers.of(30.0) == []


# The log away, lost, or another's.


async def test_a_log_that_stays_away_fails_the_job_and_settles_it(parts: Parts) -> None:
    live = await parts.begin()
    watch = await parts.watch()
    parts.log.away = True
    parts.engines.streams[0].say(Text("a"))
    await eventually_async(lambda: parts.writer.failures)
    parts.monotonic.now = 31.0
    assert await all_of(watch) == []
    assert watch.feed.failure is not None
    await parts.finished()
    assert live.terminal is not None
    assert [settlement.code for settlement in parts.spool.waiting] == ["log_unavailable"]
    parts.log.away = False


async def test_a_lost_record_fails_the_job_and_settles_it(parts: Parts) -> None:
    await parts.begin()
    watch = await parts.watch()
    parts.log.refuses = "missing"
    parts.engines.streams[0].say(Text("a"))
    assert await all_of(watch) == []
    assert watch.feed.failure is not None
    await parts.finished()
    assert [settlement.outcome for settlement in parts.spool.waiting] == ["failed"]


async def test_a_fenced_relay_settles_nothing(parts: Parts) -> None:
    live = await parts.begin()
    parts.log.refuses = "fenced"
    parts.engines.streams[0].say(Text("a"))
    await parts.finished()
    assert live.fenced
    assert len(parts.spool) == 0
    assert parts.ended == []


async def test_a_slow_log_holds_the_engine_and_loses_nothing(parts: Parts) -> None:
    await parts.begin()
    watch = await parts.watch()
    engine = parts.engines.streams[0]
    parts.log.open.clear()
    said = 0
    while not engine.paused:
        engine.say(Text("x" * 40))
        said += 1
    parts.log.open.set()
    engine.say(Finish("stop"))
    events = await all_of(watch)
    assert len(events) == said + 1


async def test_a_kept_session_gets_its_text_with_the_settlement(parts: Parts) -> None:
    await parts.begin(head(durability="none", session_id="s"))
    parts.engines.streams[0].say(Text("a"), Reasoning("hm"), Text("b"), Finish("stop"))
    await parts.finished()
    assert [settlement.final_text for settlement in parts.spool.waiting] == ["ab"]


async def test_without_a_session_no_text_leaves_the_broker(parts: Parts) -> None:
    await parts.begin()
    parts.engines.streams[0].say(Text("a"), Finish("stop"))
    await parts.finished()
    assert [settlement.final_text for settlement in parts.spool.waiting] == [None]


async def test_a_text_that_cannot_be_read_does_not_hold_its_settlement(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise LogUnavailable("away")

    await parts.begin(head(durability="none", session_id="s"))
    monkeypatch.setattr(parts.log, "read", away)
    parts.engines.streams[0].say(Text("a"), Finish("stop"))
    await parts.finished()
    assert [settlement.final_text for settlement in parts.spool.waiting] == [None]


async def test_leases_are_renewed_and_what_was_held_is_shown(
    tmp_path: Path, redis_log: RedisLog
) -> None:
    async with running(tmp_path, redis_log, relay_ttl=0.1) as parts:
        await redis_log.create(head())
        live = parts.runner.start(head(), 1)
        parts.monotonic.now = 0.1
        (await parts.engines.stream()).say(Text("a"))
        await eventually_async(lambda: redis_log.state(JOB))
        await eventually_async(lambda: live._held)
        assert live.window.durable == 0
        renewing = asyncio.create_task(parts.runner.renew())
        await eventually_async(lambda: live.window.durable == 1)
        await end([renewing])


async def test_a_relay_that_is_one_no_more_hears_it_while_its_engine_is_silent(
    tmp_path: Path, redis: Any, redis_log: RedisLog
) -> None:
    async with running(tmp_path, redis_log, relay_ttl=0.1) as parts:
        await redis_log.create(head())
        live = parts.runner.start(head(), 1)
        engine = await parts.engines.stream()
        await redis_log.release(JOB, 1)
        assert await redis_log.acquire(JOB, 0.0)
        relays = KEYS.of_job(JOB).relays  # type: ignore[union-attr]
        lease = await redis.zscore(relays, JOB)
        renewing = asyncio.create_task(parts.runner.renew())
        await eventually_async(lambda: JOB not in parts.runner.jobs)
        assert live.window.moved
        assert engine.closed
        assert parts.spool.waiting == []
        assert await redis.zscore(relays, JOB) == lease
        await end([renewing])


async def test_a_home_that_is_away_costs_the_others_no_lease(
    tmp_path: Path, redis_log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = redis_log.renew
    elsewhere = job_id(home=Home(4, 0))

    async def half_away(jobs: dict[str, int]) -> set[str]:
        if elsewhere in jobs:
            raise LogUnavailable("away")
        return await renew(jobs)

    monkeypatch.setattr(redis_log, "renew", half_away)
    async with running(tmp_path, redis_log, relay_ttl=0.1) as parts:
        lives = []
        for job in (JOB, elsewhere):
            await redis_log.create(head(job))
            lives.append(parts.runner.start(head(job), 1))
        parts.monotonic.now = 0.1
        for number in (1, 2):
            (await parts.engines.stream(number)).say(Text("a"))
        renewing = asyncio.create_task(parts.runner.renew())
        await eventually_async(lambda: lives[0].window.durable == 1 and lives[1]._held)
        assert lives[1].window.durable == 0
        await end([renewing])


async def test_a_broker_that_ends_ends_its_own_jobs_and_settles_them(tmp_path: Path) -> None:
    async with running(tmp_path) as parts:
        live = await parts.begin()
        watch = await parts.watch()
        async with asyncio.timeout(5):
            await parts.runner.aclose()
        assert live.terminal is not None
        assert live.terminal.body()["reason"] == "shutdown"
        assert (await all_of(watch))[-1] == live.terminal
        assert [settlement.code for settlement in parts.spool.waiting] == ["shutdown"]
        assert parts.runner.jobs == {}
