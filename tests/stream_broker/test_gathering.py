from __future__ import annotations

import asyncio
import itertools

import pytest

from contracts.problems import ProblemError
from stream_broker import gathering as module
from stream_broker.engines.deltas import Finish, Text
from stream_broker.gathering import Gathering
from stream_broker.log.base import LogUnavailable
from stream_broker.watch import Watch
from tests.stream_broker.building import JOB, append, complete
from tests.stream_broker.parts import Parts


@pytest.fixture
async def gathering(parts: Parts) -> Gathering:
    await parts.begin()
    return Gathering(await parts.watch(), parts.watch)


def names(events: list[module.Event]) -> list[str]:
    return [event.name for event in events]


async def test_it_waits_for_the_end(parts: Parts, gathering: Gathering) -> None:
    waiting = asyncio.create_task(gathering.events())
    for delta in (Text("a"), Text("b"), Finish("stop")):
        parts.engines.streams[0].say(delta)
        await asyncio.sleep(0)
    assert names(await waiting) == ["token", "token", "job_complete"]
    await parts.finished()


async def test_it_follows_the_job_to_another_relay(parts: Parts, gathering: Gathering) -> None:
    waiting = asyncio.create_task(gathering.events())
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"))
    await watch.feed.next(60)
    await parts.log.append([append([complete(2)])])
    parts.runner.jobs[JOB].release()
    async with asyncio.timeout(5):
        assert names(await waiting) == ["token", "job_complete"]


async def test_a_lost_log_is_the_last_event(parts: Parts, gathering: Gathering) -> None:
    parts.log.refuses = "missing"
    parts.engines.streams[0].say(Text("a"))
    async with asyncio.timeout(5):
        assert names(await gathering.events()) == ["job_error"]


async def test_a_caller_that_leaves_waits_no_more(parts: Parts, gathering: Gathering) -> None:
    waiting = asyncio.create_task(gathering.events())
    await asyncio.sleep(0)
    gathering.leave()
    assert await waiting == []
    assert parts.runner.jobs[JOB].viewers == 0


@pytest.mark.parametrize("stays", [True, False])
async def test_a_log_that_is_away_is_waited_for(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    monkeypatch.setattr(module, "_LOG_RETRY_S", 0.0)
    monkeypatch.setattr(module, "LOG_PATIENCE_S", 0.02 if stays else 5.0)
    live = await parts.begin()
    asked = itertools.count()

    async def find(cursor: int) -> Watch:
        if stays or next(asked) < 3:
            raise LogUnavailable("away")
        return await parts.watch(cursor)

    gathering = Gathering(await parts.watch(), find)
    live.release()
    if stays:
        with pytest.raises(LogUnavailable):
            await gathering.events()
    else:
        await parts.log.append([append([complete(1)])])
        assert names(await gathering.events()) == ["job_complete"]


async def test_a_job_that_is_gone_is_told(parts: Parts) -> None:
    async def find(_: int) -> Watch:
        raise ProblemError("unknown_job", "x")

    live = await parts.begin()
    gathering = Gathering(await parts.watch(), find)
    live.release()
    with pytest.raises(ProblemError):
        await gathering.events()
