from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from stream_broker.log.base import LogUnavailable
from stream_broker.log.keys import Keys
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import OneStore
from stream_broker.log.tail import Tail
from stream_broker.tasks import end
from stream_broker.window import Window
from tests.stream_broker.building import (
    JOB,
    KEYS,
    LIFETIMES,
    append,
    complete,
    head,
    job_id,
    token,
    tokens,
)
from tests.support.eventually import eventually_async
from tests.support.redis_server import RedisServer

LIMIT = 1 << 20
TAG = Keys(KEYS.tags[0])


class Broker:
    """Another broker's tail of one home, and the log that the relay writes."""

    def __init__(self, stores: OneStore) -> None:
        self.cancelled: list[tuple[str, str]] = []
        self.log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
        self.tail = Tail(stores, TAG, "p1", lambda *told: self.cancelled.append(told))


@asynccontextmanager
async def broker_of(server: RedisServer) -> AsyncIterator[Broker]:
    stores = OneStore(server.address)
    broker = Broker(stores)
    task = asyncio.create_task(broker.tail.run())
    try:
        yield broker
        assert not task.done(), "the tail must never end by itself"
    finally:
        await end([task])
        broker.log.close()
        await stores.aclose()


@pytest.fixture
async def broker(redis: Any, redis_server: RedisServer) -> AsyncIterator[Broker]:
    async with broker_of(redis_server) as broker:
        yield broker


async def until(window: Window, condition: Callable[[], object]) -> None:
    """Waits until the window says so; it tells its listeners of every change."""
    changed = asyncio.Event()
    window.listen(changed.set)
    async with asyncio.timeout(5):
        while not condition():
            changed.clear()
            await changed.wait()
    window.unlisten(changed.set)


async def test_a_followed_job_is_fed_from_the_cursor_on(broker: Broker) -> None:
    await broker.log.create(head())
    await broker.log.append([append(tokens(1, 3))])
    window = broker.tail.follow(JOB, 2, LIMIT)
    await until(window, lambda: window.durable == 3)
    assert window.read(2, LIMIT) == tokens(3, 3)
    await broker.log.append([append(tokens(4, 5))])
    await until(window, lambda: window.durable == 5)
    assert window.read(2, LIMIT) == tokens(3, 5)


async def test_the_end_is_shown_and_the_job_followed_no_more(broker: Broker) -> None:
    await broker.log.create(head())
    window = broker.tail.follow(JOB, 0, LIMIT)
    await broker.log.append([append([token(1), complete(2)])])
    await until(window, lambda: window.ended)
    assert broker.tail.following == []


async def test_all_who_follow_a_job_share_one_window(broker: Broker) -> None:
    window = broker.tail.follow(JOB, 0, LIMIT)
    assert broker.tail.follow(JOB, 0, LIMIT) is window
    broker.tail.unfollow(JOB)
    broker.tail.unfollow(JOB)
    assert broker.tail.following == []


async def test_several_jobs_are_read_at_once(broker: Broker) -> None:
    jobs = [job_id(number) for number in range(20)]
    for job in jobs:
        await broker.log.create(head(job))
    windows = [broker.tail.follow(job, 0, LIMIT) for job in jobs]
    await broker.log.append([append(tokens(1, 2, job=job), job=job) for job in jobs])
    for window, job in zip(windows, jobs, strict=True):
        await until(window, lambda window=window: window.durable == 2)  # type: ignore[misc]
        assert window.read(0, LIMIT) == tokens(1, 2, job=job)


async def test_a_long_log_comes_in_pieces_and_whole(broker: Broker) -> None:
    await broker.log.create(head())
    await broker.log.append([append(tokens(1, 2000))])
    window = broker.tail.follow(JOB, 0, LIMIT)
    await until(window, lambda: window.durable == 2000)
    assert window.read(0, LIMIT) == tokens(1, 2000)


async def test_a_new_job_interrupts_the_blocking_read(broker: Broker) -> None:
    await broker.log.create(head())
    await broker.log.append([append(tokens(1, 1))])
    async with asyncio.timeout(1):
        window = broker.tail.follow(JOB, 0, LIMIT)
        await until(window, lambda: window.durable == 1)


async def test_what_was_read_for_an_earlier_follower_is_dropped(broker: Broker) -> None:
    entries = [(b"%d-0" % event.seq, {b"n": b"token", b"d": event.data}) for event in tokens(4, 9)]
    behind = broker.tail.follow(JOB, 6, LIMIT)
    broker.tail._feed(JOB, entries)
    assert behind.read(6, LIMIT) == tokens(7, 9)
    broker.tail.unfollow(JOB)
    ahead = broker.tail.follow(JOB, 1, LIMIT)
    broker.tail._feed(JOB, entries)
    assert ahead.last == 1
    broker.tail.unfollow(JOB)
    broker.tail._feed(JOB, entries)


async def test_a_job_left_and_taken_up_again_at_a_later_cursor_goes_on(broker: Broker) -> None:
    await broker.log.create(head())
    for last in range(1, 60):
        window = broker.tail.follow(JOB, last - 1, LIMIT)
        await asyncio.sleep(0)
        await broker.log.append([append(tokens(last, last))])
        broker.tail.unfollow(JOB)
    window = broker.tail.follow(JOB, 59, LIMIT)
    await broker.log.append([append([complete(60)])])
    await until(window, lambda: window.ended)


async def test_a_cancellation_is_heard(broker: Broker) -> None:
    await broker.log.create(head())
    await broker.log.request_cancel(JOB, "client")
    await eventually_async(lambda: broker.cancelled)
    assert broker.cancelled == [(JOB, "client")]


async def test_a_cancellation_from_before_the_tail_began_is_heard(
    stores: OneStore, broker: Broker
) -> None:
    await broker.log.create(head())
    await broker.log.request_cancel(JOB, "client")
    second = Broker(stores)
    task = asyncio.create_task(second.tail.run())
    await eventually_async(lambda: second.cancelled)
    assert second.cancelled == [(JOB, "client")]
    await end([task])


async def test_a_cancellation_is_heard_of_a_store_that_counts_from_further_back(
    own_server: RedisServer,
) -> None:
    own_server.start()
    async with broker_of(own_server) as broker:
        await broker.log.create(head())
        await broker.log.request_cancel(JOB, "client")
        await eventually_async(lambda: broker.cancelled)
        own_server.command("FLUSHALL")
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        own_server.command("XADD", TAG.control, "5-0", "job", job_id(7), "reason", "deadline")
        await eventually_async(lambda: len(broker.cancelled) > 1)
    assert broker.cancelled == [(JOB, "client"), (job_id(7), "deadline")]


async def test_a_store_that_comes_back_with_its_data_goes_on(own_server: RedisServer) -> None:
    own_server.start()
    async with broker_of(own_server) as broker:
        await broker.log.create(head())
        await broker.log.append([append(tokens(1, 1))])
        window = broker.tail.follow(JOB, 0, LIMIT)
        await until(window, lambda: window.durable == 1)
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        with suppress(LogUnavailable):
            await broker.log.append([append(tokens(2, 2))])
        await broker.log.append([append(tokens(2, 2))])
        await until(window, lambda: window.durable == 2)
        assert window.failure is None


async def test_a_store_that_comes_back_empty_fails_its_jobs(own_server: RedisServer) -> None:
    own_server.start()
    async with broker_of(own_server) as broker:
        await broker.log.create(head())
        await broker.log.append([append(tokens(1, 1))])
        window = broker.tail.follow(JOB, 0, LIMIT)
        await until(window, lambda: window.durable == 1)
        own_server.command("FLUSHALL")
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        await until(window, lambda: window.failure)
        assert window.failure is not None
        assert window.failure.body()["code"] == "log_unavailable"
        assert window.durable == 1


@pytest.mark.parametrize("idle", [False, True])
async def test_a_job_that_was_lost_before_the_first_read_of_it_fails(
    broker: Broker, *, idle: bool
) -> None:
    await broker.log.create(head())
    await broker.log.append([append(tokens(1, 2))])
    if idle:  # it reads already: only the job is new to it
        window = broker.tail.follow(JOB, 1, LIMIT)
        await until(window, lambda: window.durable == 2)
    lost = broker.tail.follow(job_id(7), 5, LIMIT)
    await until(lost, lambda: lost.failure)
    assert lost.failure is not None
    assert (lost.failure.seq, lost.failure.body()["code"]) == (6, "log_unavailable")
    assert job_id(7) not in broker.tail.following


async def test_a_record_that_ends_before_the_cursor_is_that_of_a_lost_log(broker: Broker) -> None:
    await broker.log.create(head())
    await broker.log.append([append(tokens(1, 2))])
    window = broker.tail.follow(JOB, 3, LIMIT)
    await until(window, lambda: window.failure)


async def test_a_log_that_expires_as_it_is_followed_sends_its_viewers_to_look_again(
    broker: Broker, redis: Any
) -> None:
    await broker.log.create(head())
    await broker.log.append([append([token(1), complete(2)])])
    await redis.delete(TAG.log(JOB))
    behind = broker.tail.follow(JOB, 1, LIMIT)
    await until(behind, lambda: behind.moved)
    assert behind.failure is None
    assert broker.tail.following == []


async def test_a_job_that_has_said_nothing_yet_is_waited_for(broker: Broker) -> None:
    await broker.log.create(head())
    window = broker.tail.follow(JOB, 0, LIMIT)
    await eventually_async(lambda: not broker.tail._unchecked)
    await broker.log.append([append(tokens(1, 1))])
    await until(window, lambda: window.durable == 1)
    assert not window.moved


async def test_a_fault_in_one_read_does_not_end_the_tail(
    broker: Broker, redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.log.create(head())
    await redis.set(TAG.log(JOB), "not a stream")
    broker.tail.follow(JOB, 0, LIMIT)
    await eventually_async(lambda: "WRONGTYPE" in caplog.text)
    await redis.delete(TAG.log(JOB))
    await broker.log.append([append(tokens(1, 1))])
    window = broker.tail.follow(JOB, 0, LIMIT)
    await until(window, lambda: window.durable == 1)
