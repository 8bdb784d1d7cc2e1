from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.problems import ProblemError
from stream_broker.directory import Directory
from stream_broker.engines.deltas import Finish, Text
from stream_broker.followers import Followers
from stream_broker.ids import Home
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import OneStore
from stream_broker.tasks import end
from tests.stream_broker.building import (
    HOME,
    JOB,
    KEYS,
    NOW,
    USER,
    append,
    complete,
    grant,
    head,
    job_id,
    token,
    tokens,
)
from tests.stream_broker.parts import Parts, running, with_grant
from tests.support.eventually import eventually_async


class Pair:
    """A broker that relays (`here`) and one that follows, over one Redis."""

    def __init__(self, here: Parts, followers: Followers, there: Directory) -> None:
        self.here = here
        self.followers = followers
        self.there = there


@pytest.fixture
async def pair(tmp_path: Path, redis_log: RedisLog, stores: OneStore) -> AsyncIterator[Pair]:
    async with running(tmp_path / "here", redis_log) as here:
        (tmp_path / "there").mkdir()
        async with running(tmp_path / "there", redis_log) as other:
            followers = Followers(KEYS, redis_log, stores, "p2", lambda *_: None)
            here.directory._followers = followers
            there = Directory(
                Home(4, 0), other.runner, other.log, redis_log, followers, other.playout
            )
            task = asyncio.create_task(followers.run())
            yield Pair(here, followers, there)
            await end([task])
            await followers.aclose()


@pytest.fixture(autouse=True)
def _place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()


async def begin(pair: Pair, **changes: Any) -> Any:
    job = head(**changes)
    await pair.here.runner._redis_log.create(job)  # type: ignore[union-attr]
    pair.here.runner.start(job, 1)
    return await pair.here.engines.stream()


async def test_to_others_a_job_does_not_exist(parts: Parts) -> None:
    await parts.begin()
    for call in (parts.directory.state(JOB, "eve"), parts.directory.watch(JOB, "eve", 0)):
        with pytest.raises(ProblemError) as refused:
            await call
        assert refused.value.code == "unknown_job"


@pytest.mark.parametrize("job", ["", "x", "../x", job_id(9), job_id(home=Home(3, 5))])
async def test_a_job_that_never_was_is_unknown(parts: Parts, job: str) -> None:
    with pytest.raises(ProblemError) as refused:
        await parts.directory.state(job, USER)
    assert refused.value.code in ("unknown_job", "not_here")


async def test_a_job_of_another_broker_is_not_here_without_a_shared_log(parts: Parts) -> None:
    with pytest.raises(ProblemError) as refused:
        await parts.directory.state(job_id(home=Home(4, 0)), USER)
    assert refused.value.code == "not_here"
    assert refused.value.extra == {"home": "n04w0"}


@pytest.mark.parametrize(("was_away", "code"), [(True, "not_here"), (False, "unknown_job")])
async def test_a_job_made_while_the_log_was_away_may_live_on_its_home_only(
    parts: Parts, redis_log: RedisLog, was_away: bool, code: str
) -> None:
    asked: list[tuple[str, float]] = []

    def away(job: str, at: float) -> bool:
        asked.append((job, at))
        return was_away

    directory = Directory(
        HOME, parts.runner, parts.log, redis_log, None, parts.playout, was_away=away
    )
    job = job_id(7, home=Home(4, 0))
    with pytest.raises(ProblemError) as refused:
        await directory.state(job, USER)
    assert refused.value.code == code
    assert asked == [(job, NOW + 7)]


async def test_a_job_of_somebody_else_is_unknown_wherever_it_lives(
    parts: Parts, redis_log: RedisLog
) -> None:
    job = job_id(home=Home(4, 0))
    await redis_log.create(head(job))
    directory = Directory(
        HOME, parts.runner, parts.log, redis_log, None, parts.playout, was_away=lambda *_: True
    )
    with pytest.raises(ProblemError) as refused:
        await directory.state(job, "eve")
    assert refused.value.code == "unknown_job"


async def test_a_job_is_queued_until_its_engine_says_something(parts: Parts) -> None:
    live = await parts.begin(with_grant(degraded_until=NOW + 9))
    await eventually_async(lambda: live.window.durable == 1)
    assert (await parts.directory.state(JOB, USER)).status == "queued"
    parts.engines.streams[0].say(Text("a"))
    assert (await parts.directory.state(JOB, USER)).status == "running"
    parts.engines.streams[0].say(Finish("stop"))
    await parts.finished()
    assert (await parts.directory.state(JOB, USER)).status == "completed"


async def test_a_viewer_of_a_job_relayed_elsewhere_makes_the_broker_look(pair: Pair) -> None:
    looked: list[bool] = []
    pair.there._look = lambda: looked.append(True)
    await begin(pair)
    (await pair.there.watch(JOB, USER, 0)).close()
    assert looked == [True]


async def test_a_viewer_may_be_ahead_of_a_relay_that_does_not_know_that_it_was_replaced(
    pair: Pair,
) -> None:
    engine = await begin(pair)
    engine.say(Text("a"))
    log = pair.here.runner._redis_log
    assert log is not None
    here = pair.here.directory
    await eventually_async(lambda: pair.here.runner.jobs[JOB].window.durable == 1)
    await log.release(JOB, 1)
    taken = await log.acquire(JOB, 0.0)
    assert taken is not None
    assert await log.append([append([token(2)], taken.epoch)]) == ["stored"]

    watch = await here.watch(JOB, USER, 2)
    with pytest.raises(ProblemError) as refused:
        await here.watch(JOB, USER, 3)
    assert refused.value.code == "bad_cursor"
    engine.say(Text("b"))
    await eventually_async(lambda: watch.window.moved)
    watch.close()


async def test_a_cursor_past_the_end_is_refused(parts: Parts) -> None:
    await parts.begin()
    with pytest.raises(ProblemError) as refused:
        await parts.watch(1)
    assert refused.value.code == "bad_cursor"
    assert parts.runner.jobs[JOB].viewers == 0


async def test_an_ended_job_is_read_from_the_log(parts: Parts) -> None:
    await parts.log.create(head(durability="none"))
    await parts.log.append([append([token(1), complete(2)])])
    watch = await parts.watch(1)
    assert await watch.feed.next(60) == [complete(2)]
    assert watch.feed.ended
    assert (await parts.watch(2)).feed.ended


async def test_an_expired_log_is_gone_and_the_record_stays(parts: Parts) -> None:
    await parts.log.create(head(durability="none"))
    await parts.log.append([append([token(1), complete(2)])])
    parts.clock.now += 901
    with pytest.raises(ProblemError) as refused:
        await parts.watch(0)
    assert refused.value.code == "log_expired"
    state = await parts.directory.state(JOB, USER)
    assert state.status == "completed"
    assert await parts.directory.text(state) is None


async def test_the_text_is_what_the_log_holds(parts: Parts) -> None:
    await parts.begin()
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Text("b"))
    await watch.feed.next(60)
    state = await parts.directory.state(JOB, USER)
    assert await parts.directory.text(state) == "ab"


async def test_closing_a_watch_twice_counts_once(parts: Parts) -> None:
    live = await parts.begin()
    watch = await parts.watch()
    assert live.viewers == 1
    watch.close()
    watch.close()
    assert live.viewers == 0


async def test_a_relay_that_was_given_up_is_not_watched_here(parts: Parts) -> None:
    live = await parts.begin()
    live.release()
    watch = await parts.watch()
    assert watch.window is not live.window


# Over a shared log.


async def test_a_viewer_elsewhere_gets_the_same_bytes(pair: Pair) -> None:
    engine = await begin(pair)
    near = await pair.here.watch()
    far = await pair.there.watch(JOB, USER, 0)
    engine.say(Text("a"), Text("b"), Finish("stop"))
    blocks = []
    for watch in (near, far):
        got = b""
        async with asyncio.timeout(5):
            while not watch.feed.ended:
                got += b"".join(event.block for event in await watch.feed.next(60))
        blocks.append(got)
        watch.close()
    assert blocks[0] == blocks[1]
    assert pair.followers._viewers == {}


async def test_viewers_elsewhere_share_one_window(pair: Pair) -> None:
    await begin(pair)
    one, two = await pair.there.watch(JOB, USER, 0), await pair.there.watch(JOB, USER, 0)
    assert one.window is two.window
    one.close()
    two.close()
    assert (await pair.there.watch(JOB, USER, 0)).window is not one.window


async def test_a_viewer_of_a_fenced_relay_follows_the_other_one(pair: Pair) -> None:
    engine = await begin(pair)
    watch = await pair.here.watch()
    log = pair.here.runner._redis_log
    assert log is not None
    await log.release(JOB, 1)
    assert await log.acquire(JOB, 0.0)
    engine.say(Text("late"))
    async with asyncio.timeout(5):
        assert await watch.feed.next(60) == []
    assert watch.window.moved
    watch.close()
    again = await pair.here.watch()
    assert again.window is not watch.window
    await log.append([append([*tokens(1, 1), complete(2)], epoch=2)])
    async with asyncio.timeout(5):
        assert await again.feed.next(60)
    again.close()


async def test_a_cancellation_reaches_the_log_when_the_relay_is_elsewhere(
    pair: Pair, redis: Any
) -> None:
    await begin(pair)
    await pair.there.cancel(await pair.there.state(JOB, USER))
    assert await redis.hget(KEYS.of_job(JOB).job(JOB), "cancel") == b"client"  # type: ignore[union-attr]


async def test_a_cancellation_at_a_relay_that_is_one_no_more_is_in_the_record(
    pair: Pair, redis: Any
) -> None:
    await begin(pair)
    log = pair.here.runner._redis_log
    assert log is not None
    state = await pair.here.directory.state(JOB, USER)
    await log.release(JOB, 1)
    assert await log.acquire(JOB, 0.0)
    await pair.here.directory.cancel(state)
    assert await redis.hget(KEYS.of_job(JOB).job(JOB), "cancel") == b"client"  # type: ignore[union-attr]


async def test_a_job_is_cancelled_where_it_runs_while_its_log_is_away(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(pair)
    log = pair.here.runner._redis_log
    assert log is not None
    here = await pair.here.directory.state(JOB, USER)

    async def away(*_: object) -> None:
        raise LogUnavailable("away")

    monkeypatch.setattr(RedisLog, "request_cancel", away)
    with pytest.raises(LogUnavailable):
        await pair.there.cancel(here)
    await pair.here.directory.cancel(here)
    assert pair.here.runner.jobs[JOB].terminal is not None


async def test_a_first_viewer_elsewhere_is_told_to_the_relay_at_once(pair: Pair) -> None:
    await begin(pair, grant=grant(detach_grace_s=30.0))
    log = pair.here.runner._redis_log
    assert log is not None
    assert await log.seen_for(JOB) == 0.0
    watch = await pair.there.watch(JOB, USER, 0)
    left = await eventually_async(lambda: log.seen_for(JOB), within=2.0)
    assert 30.0 < left <= 35.0
    watch.close()
    assert pair.followers._spans == {}


async def test_the_grace_counts_from_the_last_viewer_anywhere(pair: Pair, timers: Any) -> None:
    await begin(pair, grant=grant(detach_grace_s=30.0))
    live = pair.here.runner.jobs[JOB]
    log = pair.here.runner._redis_log
    assert log is not None
    await log.mark_seen({JOB: 35.0})
    (timer,) = timers.of(30.0)
    timer.action()
    await eventually_async(lambda: live.grace)
    assert 30.0 < timers.timers[-1].seconds <= 35.0
    await log.mark_seen({JOB: 0.001})
    await eventually_async(lambda: _gone(log))
    timers.timers[-1].action()
    await eventually_async(lambda: live.terminal)
    assert live.terminal is not None
    assert live.terminal.body()["reason"] == "disconnect"


async def _gone(log: RedisLog) -> bool:
    return await log.seen_for(JOB) == 0.0


async def test_a_broker_that_ends_hands_its_jobs_over(pair: Pair) -> None:
    engine = await begin(pair)
    engine.say(Text("a"))
    log = pair.here.runner._redis_log
    assert log is not None
    watch = await pair.there.watch(JOB, USER, 0)
    async with asyncio.timeout(5):
        await watch.feed.next(60)
        await pair.here.runner.aclose()
    watch.close()
    assert await log.orphans(KEYS.tags[0], 0.5) == [JOB]
    taken = await log.acquire(JOB, 0.5)
    assert taken is not None
    assert (taken.epoch, taken.state.last_seq) == (2, 1)
    assert await log.acquire(JOB, 0.5) is None
