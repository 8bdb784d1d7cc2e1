from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stream_broker.engines.deltas import Finish, Text
from stream_broker.events import Event
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.outages import Outages
from stream_broker.takeover import Sweeper
from stream_broker.tasks import end
from tests.stream_broker.building import (
    JOB,
    KEYS,
    NOW,
    OTHER_TARGET,
    USER,
    append,
    complete,
    grant,
    head,
    job_id,
    token,
    tokens,
)
from tests.stream_broker.parts import Parts, running
from tests.support.eventually import eventually_async


class Heir:
    """A broker that sweeps a shared log without any patience."""

    def __init__(self, parts: Parts, log: RedisLog, every: float = 0.0) -> None:
        self.parts = parts
        self.log = log
        self.listening: list[str] = []
        self.outages = Outages()
        followers: Any = self
        self.sweeper = Sweeper(
            log,
            KEYS.tags,
            parts.runner,
            followers,
            parts.metrics,
            self.outages,
            every=every,
            margin=0.0,
            hold_off=0.0,
            clock=parts.clock,
        )

    def listen(self, tag: str) -> None:
        self.listening.append(tag)


@pytest.fixture
async def heir(tmp_path: Path, redis_log: RedisLog) -> AsyncIterator[Heir]:
    async with running(tmp_path, redis_log) as parts:
        heir = Heir(parts, redis_log)
        task = asyncio.create_task(heir.sweeper.run())
        yield heir
        assert not task.done(), "the sweeper must never end by itself"
        await end([task])


async def orphaned(log: RedisLog, job: str = JOB) -> None:
    """A job whose broker has just died."""
    await log.create(head(job))
    await log.append([append(tokens(1, 3, job=job), job=job)])
    await log.release(job, 1)


async def test_an_orphan_is_taken_over_and_finished(heir: Heir) -> None:
    await orphaned(heir.log)
    engine = await heir.parts.engines.stream()
    assert engine.call.prefix == "t1 t2 t3 "
    engine.say(Text("more"), Finish("stop"))
    await heir.parts.finished()
    state = await heir.log.state(JOB)
    assert state is not None
    assert (state.status, state.last_seq) == ("completed", 6)
    assert heir.listening == [KEYS.tags[0]]
    assert len(heir.parts.spool) == 1


async def relayed(redis: Any) -> bool:
    """Would anybody take the job over, now or later?"""
    return await redis.zscore(KEYS.of_job(JOB).relays, JOB) is not None  # type: ignore[union-attr]


async def test_a_job_that_ended_unsettled_is_settled_by_another(heir: Heir, redis: Any) -> None:
    """Its broker died between its last event and its settlement."""
    await heir.log.create(head(session_id="s"))
    await heir.log.append([append([*tokens(1, 3), complete(4)])])
    assert await relayed(redis)
    await heir.log.release(JOB, 1)
    await eventually_async(lambda: len(heir.parts.spool) > 0)
    (settlement,) = heir.parts.spool.waiting
    assert (settlement.job_id, settlement.outcome, settlement.code) == (JOB, "completed", "stop")
    assert (settlement.usage.prompt_tokens, settlement.usage.completion_tokens) == (5, 3)
    assert (settlement.final_text, settlement.ended_at) == ("t1 t2 t3 ", NOW + 9)
    assert heir.parts.engines.streams == []

    async def let_go() -> bool:
        return not await relayed(redis)

    await eventually_async(let_go)
    state = await heir.log.state(JOB)
    assert state is not None
    assert (state.status, state.last_seq) == ("completed", 4)


async def test_a_settled_job_is_nobody_s_to_settle(heir: Heir, redis: Any) -> None:
    await heir.log.create(head())
    heir.parts.runner.start(head(), 1)
    (await heir.parts.engines.stream()).say(Text("a"), Finish("stop"))
    await heir.parts.finished()
    assert await relayed(redis)
    assert await heir.parts.runner._ending.say_settled()
    assert not await relayed(redis)
    # Asked for again, the last append brings nothing back.
    assert await heir.log.append([append([token(1), complete(2)])]) == ["stored"]
    assert not await relayed(redis)
    assert len(heir.parts.spool) == 1


async def test_what_the_log_did_not_hear_is_said_again(
    heir: Heir, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: list[str]) -> None:
        raise LogUnavailable("away")

    await heir.log.create(head())
    heir.parts.runner.start(head(), 1)
    (await heir.parts.engines.stream()).say(Finish("stop"))
    await heir.parts.finished()
    ending = heir.parts.runner._ending
    with monkeypatch.context() as patched:
        patched.setattr(heir.log, "settled", away)
        assert not await ending.say_settled()
    assert await relayed(redis)
    assert await ending.say_settled()
    assert not await relayed(redis)


async def test_a_cancellation_during_the_takeover_is_obeyed(
    heir: Heir, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = heir.log.read

    async def cancelled_meanwhile(job: str, after: int, max_bytes: int) -> list[Event]:
        await heir.log.request_cancel(job, "client")
        return await read(job, after, max_bytes)

    monkeypatch.setattr(heir.log, "read", cancelled_meanwhile)
    await orphaned(heir.log)

    async def cancelled() -> bool:
        state = await heir.log.state(JOB)
        return state is not None and state.status == "cancelled"

    await eventually_async(cancelled)


async def test_a_job_with_a_living_relay_is_left_alone(heir: Heir) -> None:
    await heir.log.create(head())
    await orphaned(heir.log, job_id(1))
    await heir.parts.engines.stream()
    assert list(heir.parts.runner.jobs) == [job_id(1)]


async def test_the_old_relay_is_refused_from_then_on(heir: Heir) -> None:
    await orphaned(heir.log)
    await heir.parts.engines.stream()
    assert await heir.log.append([append(tokens(4, 4), epoch=1)]) == ["fenced"]


async def test_of_two_heirs_one_gets_it(heir: Heir, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with running(tmp_path / "other", heir.log) as parts:
        other = Heir(parts, heir.log)
        task = asyncio.create_task(other.sweeper.run())
        for number in range(8):
            await orphaned(heir.log, job_id(number))
        streams = [heir.parts.engines.streams, parts.engines.streams]
        await eventually_async(lambda: sum(map(len, streams)) >= 8)
        assert sum(map(len, streams)) == 8
        await end([task])


async def test_a_draining_broker_takes_nothing_over(heir: Heir) -> None:
    heir.sweeper.draining = True
    await orphaned(heir.log)
    for _ in range(20):
        await heir.log.state(JOB)
    assert heir.parts.engines.streams == []


async def test_a_job_of_ones_own_whose_lease_lapsed_is_kept(heir: Heir, redis: Any) -> None:
    await heir.log.create(head())
    heir.parts.runner.start(head(), 1)
    await heir.parts.engines.stream()
    await heir.log.release(JOB, 1)
    relays = KEYS.of_job(JOB).relays  # type: ignore[union-attr]

    async def renewed() -> bool:
        return bool(await redis.zscore(relays, JOB))

    await eventually_async(renewed)
    assert len(heir.parts.engines.streams) == 1


async def test_a_job_whose_later_relay_died_is_taken_over_by_an_earlier_one(heir: Heir) -> None:
    await heir.log.create(head())
    heir.parts.runner.start(head(), 1)
    earlier = await heir.parts.engines.stream()
    await heir.log.release(JOB, 1)
    later = await heir.log.acquire(JOB, 0.0)
    if later is not None:  # else this one was quicker
        await heir.log.release(JOB, later.epoch)
    assert await heir.parts.engines.stream(2) is not earlier
    assert earlier.closed
    assert heir.parts.runner.jobs[JOB].epoch > 1


async def test_an_orphan_that_cannot_be_read_stops_nobody(
    heir: Heir, redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await heir.log.create(head())
    await redis.hset(KEYS.of_job(JOB).job(JOB), "head", b"{}")  # type: ignore[union-attr]
    await heir.log.release(JOB, 1)
    await orphaned(heir.log, job_id(1))
    await heir.parts.engines.stream()
    assert list(heir.parts.runner.jobs) == [job_id(1)]
    assert "ValidationError" in caplog.text


async def test_an_outage_is_waited_out(heir: Heir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def away(*_: object) -> list[str]:
        asked.set()
        raise LogUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(heir.log, "orphans", away)
        async with asyncio.timeout(5):
            await asked.wait()
    await orphaned(heir.log)
    await heir.parts.engines.stream()
    assert (await heir.parts.directory.state(JOB, USER)).last_seq >= 3


async def test_the_engine_that_served_is_known_to_whoever_takes_over(
    heir: Heir, redis_log: RedisLog
) -> None:
    other = grant(fallbacks=(OTHER_TARGET,))
    await redis_log.create(head(grant=other))
    await redis_log.note_engine(JOB, 1, 1)
    await redis_log.note_engine(JOB, 9, 0)
    await redis_log.release(JOB, 1)
    engine = await heir.parts.engines.stream()
    assert engine.target == OTHER_TARGET
    assert (await heir.parts.directory.state(JOB, USER)).engine == 1


async def test_after_an_absence_relays_that_live_may_renew_first(heir: Heir) -> None:
    heir.sweeper._hold_off = 1.0
    heir.outages.away(KEYS.tags[0], heir.parts.clock.now)
    await orphaned(heir.log)
    await eventually_async(lambda: heir.outages.quiet_for(KEYS.tags[0], NOW + 1) == 1.0)
    assert heir.parts.engines.streams == []
    heir.parts.clock.now += 1.0
    await heir.parts.engines.stream()


async def test_another_homes_absence_holds_nobody(heir: Heir) -> None:
    heir.sweeper._hold_off = 1.0
    heir.outages.away(KEYS.tags[1], heir.parts.clock.now)
    await orphaned(heir.log)
    await heir.parts.engines.stream()


async def test_how_long_a_lease_had_lapsed_is_known(redis: Any, redis_log: RedisLog) -> None:
    await redis_log.create(head())
    relays = KEYS.of_job(JOB).relays  # type: ignore[union-attr]
    seconds, micros = await redis.time()
    await redis.zadd(relays, {JOB: seconds * 1000 + micros // 1000 - 40_000})
    taken = await redis_log.acquire(JOB, 0.0)
    assert taken is not None
    assert 40.0 <= taken.lapsed < 60.0
    await redis_log.release(JOB, taken.epoch)
    again = await redis_log.acquire(JOB, 0.0)
    assert again is not None
    assert again.lapsed == 0.0


async def test_whoever_asks_makes_the_broker_look_at_once(
    tmp_path: Path, redis_log: RedisLog
) -> None:
    async with running(tmp_path, redis_log) as parts:
        patient = Heir(parts, redis_log, every=3600.0)
        task = asyncio.create_task(patient.sweeper.run())
        await orphaned(redis_log)
        patient.sweeper.look()
        await parts.engines.stream()
        await end([task])
