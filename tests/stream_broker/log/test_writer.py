from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stream_broker.events import Event
from stream_broker.log import writer as module
from stream_broker.log.base import Append, LogUnavailable, Outcome
from stream_broker.log.memory import MemoryLog
from stream_broker.log.turns import Turns
from stream_broker.log.writer import LogWriter
from stream_broker.tasks import end
from tests.stream_broker.building import JOB, LIFETIMES, NOW, Clock, append, head, job_id, tokens

MUCH = 1 << 20


class FaultyLog(MemoryLog):
    """Fails, or waits, as often as it is told."""

    def __init__(self) -> None:
        super().__init__(Clock(), max_bytes=MUCH, **LIFETIMES)
        self.faults: list[Exception] = []
        self.lost_answers = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.batches: list[list[Append]] = []

    async def append(self, batch: list[Append]) -> list[Outcome]:
        self.batches.append(batch)
        self.asked.set()
        await self.gate.wait()
        if self.faults:
            raise self.faults.pop()
        outcomes = await super().append(batch)
        if self.lost_answers:
            self.lost_answers -= 1
            raise LogUnavailable("the answer was lost")
        return outcomes


class Job:
    """A job that writes down what it is told."""

    def __init__(self, job: str = JOB) -> None:
        self.job = job
        self.epoch = 1
        self.last = 0
        self.outcome: Outcome | None = None
        self.away: list[float] = []
        self.when_away: Callable[[], object] = lambda: None
        self.heard = asyncio.Event()

    def to_append(self, events: list[Event]) -> Append:
        return append(events, self.epoch, job=self.job)

    def stored(self, last: int) -> None:
        self.last = last
        self.heard.set()

    def refused(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.heard.set()

    def log_away(self, since: float) -> None:
        self.away.append(since)
        self.when_away()


@pytest.fixture
def log() -> FaultyLog:
    return FaultyLog()


@pytest.fixture
async def writer(log: FaultyLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LogWriter]:
    """A running writer that loses no time between its attempts."""
    monkeypatch.setattr(module, "_RETRY_S", (0.0,))
    await log.create(head(durability="none"))
    subject = LogWriter(log, Clock())
    task = asyncio.create_task(subject.run())
    yield subject
    assert not task.done(), "the writer must never end by itself"
    await end([task])


async def drained(writer: LogWriter) -> None:
    async with asyncio.timeout(5):
        await writer.drained()


async def test_events_are_written_in_order(log: FaultyLog, writer: LogWriter) -> None:
    job = Job()
    writer.add(job, tokens(1, 2))
    writer.add(job, tokens(3, 3))
    await drained(writer)
    assert job.last == 3
    assert await log.read(JOB, 0, MUCH) == tokens(1, 3)


async def test_while_a_flush_is_under_way_the_next_one_gathers(
    log: FaultyLog, writer: LogWriter
) -> None:
    jobs = [Job(job_id(number)) for number in range(10)]
    for job in jobs:
        await log.create(head(job.job, "none"))
    log.gate.clear()
    first = Job()
    writer.add(first, tokens(1, 1))
    await log.asked.wait()
    for seq in (1, 2, 3):
        for job in jobs:
            writer.add(job, tokens(seq, seq, job=job.job))
    log.gate.set()
    await drained(writer)
    assert writer.flushes == 2
    assert {job.last for job in jobs} == {3}


async def test_one_flush_is_bounded(log: FaultyLog) -> None:
    one, two = Job(), Job(job_id(1))
    for job in (one, two):
        await log.create(head(job.job, "none"))
    writer = LogWriter(log, Clock(), turns=Turns(events=4))
    task = asyncio.create_task(writer.run())
    writer.add(one, tokens(1, 10))
    writer.add(two, tokens(1, 3, job=two.job))
    await drained(writer)
    await end([task])
    assert [sum(len(entry.events) for entry in batch) for batch in log.batches] == [4, 4, 4, 1]
    assert (one.last, two.last) == (10, 3)
    assert log.batches[1][0].job_id == two.job


async def test_a_failed_flush_is_repeated_until_it_is_answered(
    log: FaultyLog, writer: LogWriter
) -> None:
    log.faults = [LogUnavailable("away") for _ in range(7)]
    job = Job()
    writer.add(job, tokens(1, 3))
    await drained(writer)
    assert (job.last, writer.failures, writer.flushes) == (3, 7, 1)
    assert job.away == [NOW] * 7
    assert await log.read(JOB, 0, MUCH) == tokens(1, 3)


async def test_an_answer_that_was_lost_writes_nothing_twice(
    log: FaultyLog, writer: LogWriter
) -> None:
    log.lost_answers = 3
    job = Job()
    writer.add(job, tokens(1, 3))
    await drained(writer)
    assert job.last == 3
    assert await log.read(JOB, 0, MUCH) == tokens(1, 3)


async def test_what_arrives_during_an_outage_follows_in_order(
    log: FaultyLog, writer: LogWriter
) -> None:
    log.faults = [LogUnavailable("away") for _ in range(5)]
    job = Job()
    numbers = iter(range(2, 7))

    def more() -> None:
        seq = next(numbers)
        writer.add(job, tokens(seq, seq))

    job.when_away = more
    writer.add(job, tokens(1, 1))
    await drained(writer)
    assert await log.read(JOB, 0, MUCH) == tokens(1, 6)


async def test_a_refused_job_is_told_and_forgotten(log: FaultyLog, writer: LogWriter) -> None:
    fenced, missing, fine = Job(), Job(job_id(1)), Job(job_id(2))
    fenced.epoch = 9
    await log.create(head(fine.job, "none"))
    for job in (fenced, missing, fine):
        writer.add(job, tokens(1, 1, job=job.job))
    await drained(writer)
    assert (fenced.outcome, missing.outcome, fine.outcome) == ("fenced", "missing", None)
    assert fine.last == 1


async def test_a_job_dropped_while_its_flush_is_under_way_hears_no_more(
    log: FaultyLog, writer: LogWriter
) -> None:
    log.gate.clear()
    job = Job()
    writer.add(job, tokens(1, 1))
    await log.asked.wait()
    writer.add(job, tokens(2, 2))
    writer.drop(job)
    log.gate.set()
    await drained(writer)
    assert (job.last, len(log.batches)) == (0, 1)


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyError("a bug")])
async def test_a_fault_of_ours_does_not_end_the_writer(
    log: FaultyLog, writer: LogWriter, fault: Exception
) -> None:
    log.faults = [fault]
    job = Job()
    writer.add(job, tokens(1, 1))
    await drained(writer)
    assert job.last == 1
    assert job.away == [NOW]


async def test_a_writer_cut_off_in_its_flush_loses_nothing(log: FaultyLog) -> None:
    await log.create(head(durability="none"))
    subject, job = LogWriter(log, Clock()), Job()
    subject.add(job, tokens(1, 2))
    log.gate.clear()
    task: asyncio.Task[Any] = asyncio.create_task(subject.run())
    await log.asked.wait()
    await end([task])
    log.gate.set()
    again = asyncio.create_task(subject.run())
    subject.add(job, tokens(3, 3))
    await drained(subject)
    await end([again])
    assert await log.read(JOB, 0, MUCH) == tokens(1, 3)


async def test_what_waits_for_a_flush_under_way_waits_for_the_log(log: FaultyLog) -> None:
    clock, told = Clock(100.0), list[tuple[float, float]]()
    await log.create(head(durability="none"))
    writer = LogWriter(log, clock, shown=lambda durable, own: told.append((durable, own)))
    writer.add(job := Job(), tokens(1, 1))
    clock.now += 3
    log.gate.clear()
    task = asyncio.create_task(writer.run())
    await log.asked.wait()
    writer.add(job, tokens(2, 2))
    clock.now += 10
    log.gate.set()
    await drained(writer)
    await end([task])
    # Three seconds until the writer came to it, and ten of the log's; then these ten only.
    assert told == [(13.0, 3.0), (10.0, 0.0)]
