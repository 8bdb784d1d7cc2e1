"""Writers by lane: jobs of a home share a flush, and homes do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stream_broker.events import Event
from stream_broker.ids import Home, home_of
from stream_broker.log import writer as module
from stream_broker.log.base import Append, LogUnavailable, Outcome
from stream_broker.log.lanes import LaneWriters
from stream_broker.tasks import end
from tests.stream_broker.building import append, job_id, tokens
from tests.support.eventually import eventually_async

HERE, THERE = Home(3, 0), Home(4, 0)


class ScriptedLog:
    """Stands in for RedisLog; the homes in `away` do not answer."""

    def __init__(self) -> None:
        self.away: set[Home] = set()
        self.batches: list[list[Append]] = []

    def lane(self, job: str) -> str:
        return str(home_of(job))

    async def append(self, batch: list[Append]) -> list[Outcome]:
        await asyncio.sleep(0)
        if home_of(batch[0].job_id) in self.away:
            raise LogUnavailable("away")
        self.batches.append(batch)
        return ["stored"] * len(batch)


class Job:
    def __init__(self, job: str) -> None:
        self.job_id = job
        self.last = 0
        self.away = 0

    def to_append(self, events: list[Event]) -> Append:
        return append(events, job=self.job_id)

    def stored(self, last: int) -> None:
        self.last = last

    def refused(self, outcome: Outcome) -> None:
        raise AssertionError(outcome)

    def log_away(self, since: float) -> None:
        self.away += 1


@pytest.fixture
def log() -> ScriptedLog:
    return ScriptedLog()


@pytest.fixture
async def writers(log: ScriptedLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LaneWriters]:
    monkeypatch.setattr(module, "_RETRY_S", (0.001,))
    subject = LaneWriters(log, asyncio.get_running_loop().time, gather=0.0)  # type: ignore[arg-type]
    task = asyncio.create_task(subject.run())
    yield subject
    assert not task.done(), "the writers must never end by themselves"
    await end([task])


def give(writers: LaneWriters, job: Job, first: int, last: int) -> None:
    writers.add(job, tokens(first, last, job=job.job_id))


async def drained(writers: LaneWriters) -> None:
    async with asyncio.timeout(5):
        await writers.drained()


async def test_jobs_of_one_home_share_a_flush_and_homes_do_not(
    log: ScriptedLog, writers: LaneWriters
) -> None:
    jobs = [Job(job_id(number, home)) for home in (HERE, THERE) for number in range(3)]
    for job in jobs:
        give(writers, job, 1, 2)
    await drained(writers)
    assert [len(batch) for batch in log.batches] == [3, 3]
    assert {job.last for job in jobs} == {2}
    assert writers.flushes == 2


async def test_a_home_that_is_away_holds_up_no_other(
    log: ScriptedLog, writers: LaneWriters
) -> None:
    log.away.add(THERE)
    here, there = Job(job_id(home=HERE)), Job(job_id(home=THERE))
    for last in range(1, 20):
        give(writers, here, last, last)
        give(writers, there, last, last)
        await eventually_async(lambda last=last: here.last == last)  # type: ignore[misc]
    await eventually_async(lambda: there.away > 2)
    assert (there.last, here.away) == (0, 0)
    log.away.clear()
    await drained(writers)
    assert there.last == 19
    assert writers.failures > 2


async def test_a_job_that_is_dropped_is_written_no_more(
    log: ScriptedLog, writers: LaneWriters
) -> None:
    job, other = Job(job_id(home=HERE)), Job(job_id(1, HERE))
    writers.drop(job)
    log.away.add(HERE)
    give(writers, job, 1, 1)
    give(writers, other, 1, 1)
    await eventually_async(lambda: other.away)
    writers.drop(job)
    log.away.clear()
    await drained(writers)
    assert (job.last, other.last) == (0, 1)


async def test_under_load_a_flush_carries_what_a_moment_brings(log: ScriptedLog) -> None:
    subject = LaneWriters(log, asyncio.get_running_loop().time, gather=0.05)  # type: ignore[arg-type]
    task = asyncio.create_task(subject.run())
    job = Job(job_id(home=HERE))
    give(subject, job, 1, 1)
    await eventually_async(lambda: job.last == 1)
    for seq in range(2, 12):
        give(subject, job, seq, seq)
        await asyncio.sleep(0)
    await drained(subject)
    assert [len(batch[0].events) for batch in log.batches] == [1, 10]
    await end([task])
