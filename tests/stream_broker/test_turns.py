"""Jobs that wait for their turn, and what is told of engines that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.grants import EngineReport, EngineTarget, Told, Turn, TurnAnswer
from contracts.problems import ProblemError
from stream_broker import turns as module
from stream_broker.control import ControlUnavailable
from stream_broker.engines.deltas import Failure, Finish, Text
from stream_broker.events import Event
from stream_broker.reports import FaultReports
from stream_broker.tasks import end
from tests.stream_broker.building import JOB, OTHER_TARGET, TARGET
from tests.stream_broker.parts import Parts, all_of, with_grant
from tests.support.eventually import eventually_async

SOON = 0.01
FIRST, SECOND = Turn(position=2, ask_again_s=SOON), Turn(position=1, ask_again_s=SOON)
ALL = (OTHER_TARGET,)


async def queued(parts: Parts, *answers: TurnAnswer | Exception) -> None:
    """Accepts a job that is second in the queue, whose questions get these answers."""
    parts.control.turns = list(answers)
    job = with_grant(fallbacks=ALL, turn=FIRST)
    await parts.log.create(job)
    parts.runner.start(job, 1)


def told(events: list[Event]) -> list[object]:
    bodies = [event.body() for event in events]
    return [
        b.get("position") or b.get("token") or b.get("code") or b["finish_reason"] for b in bodies
    ]


async def test_a_job_that_waits_is_told_its_place_and_asks_the_engine_it_is_given(
    parts: Parts,
) -> None:
    go = TurnAnswer(engine=OTHER_TARGET, fallbacks=[TARGET])
    await queued(parts, TurnAnswer(turn=FIRST), TurnAnswer(turn=SECOND), go)
    watch = await parts.watch()
    assert watch.state.status == "queued"
    stream = await parts.engines.stream()
    assert stream.target == OTHER_TARGET
    stream.say(Text("a"), Finish("stop"))
    assert told(await all_of(watch)) == [2, 1, "a", "stop"]
    assert len(parts.control.turns_asked) == 3


async def test_the_fallbacks_of_a_turn_are_asked_in_its_order(parts: Parts) -> None:
    await queued(parts, TurnAnswer(engine=OTHER_TARGET, fallbacks=[TARGET]))
    (await parts.engines.stream()).say(Failure("engine_unreachable", "x"))
    assert (await parts.engines.stream(2)).target == TARGET
    assert parts.faults == [(OTHER_TARGET.base_url, "engine_unreachable")]


async def test_an_engine_that_the_grant_does_not_name_is_not_asked(parts: Parts) -> None:
    stranger = EngineTarget(kind="vllm", base_url="http://127.0.0.1:9", model="m")
    await queued(parts, TurnAnswer(engine=stranger))
    assert (await parts.engines.stream()).target == TARGET


async def test_a_job_that_is_cancelled_while_it_waits_ends_at_once(parts: Parts) -> None:
    await queued(parts, TurnAnswer(turn=Turn(position=2, ask_again_s=3600)))
    watch = await parts.watch()
    assert [event.name for event in await watch.feed.next(1)] == ["notice"]
    assert parts.runner.cancel(JOB, "client")
    assert [event.name for event in await all_of(watch)] == ["job_cancelled"]
    await parts.finished()
    assert parts.engines.streams == []


async def test_a_wait_that_is_too_long_fails_the_job(parts: Parts) -> None:
    await queued(parts, ProblemError("overloaded", "Too many wait"))
    events = await all_of(await parts.watch())
    end_of_it = events[-1].body()
    assert (end_of_it["code"], end_of_it["retryable"]) == ("overloaded", True)
    assert parts.engines.streams == []


async def test_who_waits_does_not_wait_for_a_control_plane_that_is_gone(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AWAY_S", 0.0)
    await queued(parts, ControlUnavailable("away"))
    watch = await parts.watch()
    stream = await parts.engines.stream()
    assert stream.target == TARGET
    stream.say(Text("a"), Finish("stop"))
    assert told(await all_of(watch)) == [2, "degraded_policy", "a", "stop"]


async def test_a_job_that_waits_moves_with_its_broker(parts: Parts) -> None:
    await queued(parts, TurnAnswer(turn=Turn(position=2, ask_again_s=3600)))
    await eventually_async(lambda: parts.turns.waiting == 1)
    parts.runner.jobs[JOB].release()
    await eventually_async(lambda: parts.turns.waiting == 0)
    assert parts.engines.streams == []


async def test_what_a_grant_has_to_tell_comes_first(parts: Parts) -> None:
    await parts.begin(with_grant(notices=[Told(code="limited", message="shorter")]))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Finish("stop"))
    assert told(await all_of(watch)) == ["limited", "a", "stop"]


class Plane:
    """Takes reports, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[EngineReport] = []
        self.calls = asyncio.Event()

    async def report(self, reports: Any) -> None:
        self.calls.set()
        if self.away:
            raise ControlUnavailable("away")
        self.told += reports


async def test_failures_are_told_together_and_at_once() -> None:
    plane, lost = Plane(), []
    reports = FaultReports(plane, "n3", lost.append)
    reports.note(TARGET, "engine_stalled")
    reports.note(TARGET, "context_too_long")
    reports.note(OTHER_TARGET, "engine_error")
    task = asyncio.create_task(reports.run())
    await eventually_async(lambda: len(plane.told) == 2)
    assert [report.fault for report in plane.told] == ["engine_stalled", "engine_error"]
    assert plane.told[0].base_url == TARGET.base_url
    await end([task])
    assert lost == []


async def test_old_news_is_dropped_and_counted() -> None:
    plane, lost = Plane(), []
    reports = FaultReports(plane, "n3", lost.append)
    for _ in range(66):
        reports.note(TARGET, "engine_error")
    assert sum(lost) == 2
    plane.away = True
    task = asyncio.create_task(reports.run())
    await eventually_async(lambda: sum(lost) == 66)
    plane.away = False
    reports.note(TARGET, "engine_stalled")
    await eventually_async(lambda: len(plane.told) == 1)
    await end([task])
