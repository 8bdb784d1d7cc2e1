"""One suite over the three forms of the log."""

from __future__ import annotations

import pytest

from stream_broker.log.base import Claim
from stream_broker.log.keys import Keys
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import Stores
from tests.stream_broker.building import (
    JOB,
    KEYS,
    NOW,
    Clock,
    append,
    complete,
    head,
    job_id,
    token,
    tokens,
)
from tests.stream_broker.log.conftest import Subject

AnyLog = MemoryLog | RedisLog
MUCH = 1 << 20


async def begun(log: AnyLog) -> AnyLog:
    await log.create(head(durability=log.durability))
    return log


async def ended(log: AnyLog) -> AnyLog:
    await begun(log)
    await log.append([append([*tokens(1, 2), complete(3)])])
    return log


async def test_what_is_appended_can_be_read(log: AnyLog) -> None:
    await begun(log)
    assert await log.append([append(tokens(1, 2))]) == ["stored"]
    assert await log.append([append(tokens(3, 5))]) == ["stored"]
    assert await log.read(JOB, 0, MUCH) == tokens(1, 5)


async def test_reading_goes_on_behind_any_cursor(log: AnyLog) -> None:
    await begun(log)
    await log.append([append(tokens(1, 5))])
    for cursor in range(7):
        assert await log.read(JOB, cursor, MUCH) == tokens(cursor + 1, 5)


async def test_a_read_is_bounded_but_always_goes_on(log: AnyLog) -> None:
    await begun(log)
    await log.append([append(tokens(1, 5))])
    assert await log.read(JOB, 1, 1) == tokens(2, 2)
    assert await log.read(JOB, 1, 2 * token(1, "t1 ").size) == tokens(2, 3)


async def test_a_long_log_is_read_whole(log: AnyLog) -> None:
    await begun(log)
    await log.append([append(tokens(1, 1500))])
    assert await log.read(JOB, 0, MUCH) == tokens(1, 1500)


async def test_one_flush_serves_many_jobs(log: AnyLog) -> None:
    jobs = [job_id(number) for number in range(5)]
    for job in jobs:
        await log.create(head(job, log.durability))
    batch = [append(tokens(1, 3, job=job), job=job) for job in jobs]
    assert await log.append(batch) == ["stored"] * 5
    for job in jobs:
        assert await log.read(job, 1, MUCH) == tokens(2, 3, job=job)


async def test_a_repeated_flush_writes_nothing_twice(log: AnyLog) -> None:
    await begun(log)
    for _ in range(3):
        assert await log.append([append(tokens(1, 3))]) == ["stored"]
    assert await log.append([append(tokens(2, 5))]) == ["stored"]
    assert await log.read(JOB, 0, MUCH) == tokens(1, 5)


async def test_a_repeated_end_is_stored_again(log: AnyLog) -> None:
    await ended(log)
    assert await log.append([append([*tokens(1, 2), complete(3)])]) == ["stored"]
    assert await log.read(JOB, 2, MUCH) == [complete(3)]


async def test_a_gap_is_refused_and_nothing_of_it_is_kept(log: AnyLog) -> None:
    await begun(log)
    await log.append([append(tokens(1, 2))])
    assert await log.append([append(tokens(4, 5))]) == ["missing"]
    assert await log.read(JOB, 0, MUCH) == tokens(1, 2)


async def test_a_job_without_record_takes_no_events(log: AnyLog) -> None:
    await begun(log)
    other = job_id(1)
    batch = [append(tokens(1, 1, job=other), job=other), append(tokens(1, 1))]
    assert await log.append(batch) == ["missing", "stored"]
    assert await log.state(other) is None
    assert await log.read(other, 0, MUCH) == []


async def test_another_epoch_is_fenced(log: AnyLog) -> None:
    await begun(log)
    assert await log.append([append(tokens(1, 1), epoch=7)]) == ["fenced"]
    assert await log.read(JOB, 0, MUCH) == []


async def test_a_record_made_again_stays_as_it_is(log: AnyLog) -> None:
    await begun(log)
    await log.append([append(tokens(1, 2))])
    assert await log.create(head(durability=log.durability)) == 1
    assert await log.read(JOB, 0, MUCH) == tokens(1, 2)


async def test_the_record_follows_the_log(log: AnyLog) -> None:
    await begun(log)
    state = await log.state(JOB)
    assert state is not None
    assert state.head == head(durability=log.durability)
    assert (state.last_seq, state.first_token_at, state.end_name) == (0, None, None)
    await log.append([append(tokens(1, 2))])
    state = await log.state(JOB)
    assert state is not None
    assert (state.last_seq, state.first_token_at, state.status) == (2, NOW + 1, "running")


async def test_a_record_that_was_handed_out_does_not_change(log: AnyLog) -> None:
    await begun(log)
    state = await log.state(JOB)
    await log.append([append([token(1), complete(2)])])
    assert state is not None
    assert (state.last_seq, state.end_name) == (0, None)


async def test_the_record_tells_how_the_job_ended(log: AnyLog) -> None:
    state = await (await ended(log)).state(JOB)
    assert state is not None
    assert (state.status, state.end_name, state.last_seq) == ("completed", "job_complete", 3)
    assert state.end == complete(3).body()
    assert state.ended_at == NOW + 9
    assert not state.log_expired


async def test_a_job_that_never_was_has_no_record(log: AnyLog) -> None:
    assert await log.state(JOB) is None
    assert await log.read(JOB, 0, MUCH) == []


async def expire(stores: Stores, tag: str, name: str, ttl: int) -> None:
    assert ttl - 10 < await stores.ask(tag, lambda redis: redis.ttl(name)) <= ttl
    await stores.ask(tag, lambda redis: redis.delete(name))


async def expire_log(subject: Subject) -> None:
    subject.clock.now += 901
    if subject.stores is not None:
        tag = KEYS.tags[0]
        await expire(subject.stores, tag, Keys(tag).log(JOB), 900)


async def test_the_record_outlives_the_log(subject: Subject) -> None:
    await ended(subject.log)
    await expire_log(subject)
    state = await subject.log.state(JOB)
    assert state is not None
    assert state.log_expired
    assert (state.status, state.last_seq) == ("completed", 3)
    assert await subject.log.read(JOB, 0, MUCH) == []


async def test_the_record_goes_a_day_after_the_end(subject: Subject) -> None:
    await ended(subject.log)
    subject.clock.now += 86_401
    if subject.stores is not None:
        tag = KEYS.tags[0]
        await expire(subject.stores, tag, Keys(tag).job(JOB), 86_400)
    assert await subject.log.state(JOB) is None


async def test_a_cancellation_may_be_asked_for_at_any_time(log: AnyLog) -> None:
    await log.request_cancel(JOB, "client")
    await begun(log)
    await log.request_cancel(JOB, "client")
    await log.request_cancel(JOB, "client")
    await log.append([append([complete(1)])])
    await log.request_cancel(JOB, "client")


# Claims.


def claim(number: int = 0, *, body: str = "b", at: float = NOW, by: str = "p1") -> Claim:
    return Claim(job_id=job_id(number), body_hash=body, at=at, by=by)


async def test_the_first_claim_stands(log: AnyLog) -> None:
    assert await log.claim("k", claim(1), NOW - 5) == claim(1)
    assert await log.claim("k", claim(2), NOW - 5) == claim(1)
    assert await log.claim("other", claim(2), NOW - 5) == claim(2)


@pytest.mark.parametrize("at", [NOW, NOW + 60])
async def test_a_claim_with_another_body_stands_however_old(log: AnyLog, at: float) -> None:
    await log.claim("k", claim(1), NOW - 5)
    assert await log.claim("k", claim(2, body="c", at=at), at - 5) == claim(1)


async def test_a_stale_claim_without_record_is_taken_up_under_its_own_job(log: AnyLog) -> None:
    await log.claim("k", claim(1), NOW - 5)
    taken = await log.claim("k", claim(2, at=NOW + 6, by="p2"), NOW + 1)
    assert taken == claim(1, at=NOW + 6, by="p2")
    again = await log.claim("k", claim(3, at=NOW + 7, by="p3"), NOW + 2)
    assert again == taken


async def test_a_stale_claim_whose_job_runs_stands(log: AnyLog) -> None:
    await log.claim("k", claim(1), NOW - 5)
    await log.create(head(job_id(1), log.durability))
    assert await log.claim("k", claim(2, at=NOW + 60), NOW + 55) == claim(1)


async def test_a_claim_is_given_back_by_its_own_job_only(log: AnyLog) -> None:
    await log.claim("k", claim(1), NOW - 5)
    await log.unclaim("k", job_id(2))
    assert await log.claim("k", claim(2), NOW - 5) == claim(1)
    await log.unclaim("k", job_id(1))
    await log.unclaim("k", job_id(1))
    assert await log.claim("k", claim(2), NOW - 5) == claim(2)


async def test_a_claim_lives_a_day(subject: Subject) -> None:
    await subject.log.claim("k", claim(1), NOW - 5)
    later = NOW + 86_401
    subject.clock.now = later
    if subject.stores is not None:
        keys = KEYS.of_claim("k")
        await expire(subject.stores, keys.tag, keys.claim("k"), 86_400)
    else:
        await subject.log.state(JOB)
    assert await subject.log.claim("k", claim(2, body="c"), later - 5) == claim(2, body="c")


# Memory alone.


TWO_LOGS = 2 * sum(event.size for event in [*tokens(1, 4), complete(5)])


def small_log(clock: Clock) -> MemoryLog:
    return MemoryLog(clock, log_ttl=900, record_ttl=86_400, claim_ttl=10, max_bytes=TWO_LOGS)


async def test_over_the_bound_the_oldest_ended_log_goes_first() -> None:
    clock = Clock()
    log = small_log(clock)
    for number in range(3):
        job = job_id(number)
        await log.create(head(job, "none"))
        end = complete(5, job=job)
        await log.append([append([*tokens(1, 4, job=job), end], job=job)])
        clock.now += 1
    states = [await log.state(job_id(number)) for number in range(3)]
    assert [state.log_expired for state in states if state] == [True, False, False]


async def test_a_running_log_never_goes() -> None:
    log = small_log(Clock())
    await log.create(head(durability="none"))
    await log.append([append(tokens(1, 100))])
    await log.create(head(job_id(1), "none"))
    assert await log.read(JOB, 0, MUCH) == tokens(1, 100)
