from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.codes import JOB_ERRORS
from contracts.grants import EngineTarget, Usage
from stream_broker import engine_run as module
from stream_broker.engines import failures
from stream_broker.engines.call import EngineCall
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall
from stream_broker.events import Event
from stream_broker.log.base import LogUnavailable
from tests.stream_broker.building import JOB, OTHER_TARGET, TARGET, USER
from tests.stream_broker.parts import Parts, ScriptedStream, all_of, running, with_grant

MOVING = {"engine_unreachable", "engine_error", "engine_stalled", "engine_truncated"}
DEATH = Failure("engine_truncated", "The engine ended the answer before it was complete.")
UNPROVEN = EngineTarget(kind="vllm", base_url="http://127.0.0.1:4", model="m4")
CALL = EngineCall(model="m", messages=[], max_tokens=1)


def told(events: list[Event]) -> list[str]:
    """What a reader is told, in a word for each event."""
    bodies = [event.body() for event in events]
    return [b.get("token") or b.get("code") or b["finish_reason"] for b in bodies]


@pytest.mark.parametrize("code", sorted(JOB_ERRORS.keys() & MOVING))
async def test_an_engine_that_fails_before_its_first_chunk_leads_to_the_next(
    parts: Parts, code: str
) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Failure(code, "x"))
    second = await parts.engines.stream(2)
    assert (second.target, second.call.max_tokens) == (OTHER_TARGET, 100)
    second.say(Text("a"), Finish("stop"))
    assert [event.name for event in await all_of(watch)] == ["token", "job_complete"]


async def test_what_a_request_is_refused_for_is_not_told_of_the_engine(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(failures.refused(400, b'{"error": "no such instance"}'))
    (await parts.engines.stream(2)).say(failures.refused(500, b'{"error": "broken"}'))
    await parts.finished()
    assert parts.faults == [(OTHER_TARGET.base_url, "engine_error")]


async def test_the_last_engines_failure_is_the_jobs(parts: Parts) -> None:
    live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(Failure("engine_unreachable", "x"))
    (await parts.engines.stream(2)).say(Failure("engine_error", "y"))
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["message"] == "y"


@pytest.mark.parametrize("code", sorted(JOB_ERRORS.keys() & MOVING))
async def test_an_engine_that_dies_in_mid_answer_is_followed_by_the_next(
    parts: Parts, code: str
) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("one"), Text(" two"))
    parts.engines.streams[0].say(Text(" three"), Failure(code, "x"))
    second = await parts.engines.stream(2)
    assert (second.target, second.call.prefix) == (OTHER_TARGET, "one two three")
    assert second.call.max_tokens == 97
    second.say(Text(" four"), Finish("stop", Usage(prompt_tokens=13, completion_tokens=1)))
    events = await all_of(watch)
    assert told(events) == ["one", " two", " three", "engine_moved", " four", "stop"]
    assert events[-1].body()["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "cached_tokens": 0,
        "estimated": True,
    }


async def test_engine_after_engine_continues_the_whole_text(parts: Parts) -> None:
    third = EngineTarget(kind="vllm", base_url="http://127.0.0.1:3", model="m3", continues=True)
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET, third)))
    watch = await parts.watch()
    for number, text in enumerate(("a", "b", "c"), 1):
        stream = await parts.engines.stream(number)
        assert stream.call.prefix == "abc"[: number - 1]
        stream.say(Text(text))
        if number < 3:
            stream.say(DEATH)
    usage = Usage(prompt_tokens=12, completion_tokens=1)
    parts.engines.streams[2].say(Finish("stop", usage))
    events = await all_of(watch)
    assert told(events) == ["a", "engine_moved", "b", "engine_moved", "c", "stop"]
    assert events[-1].body()["usage"]["prompt_tokens"] == 10
    assert events[-1].body()["usage"]["completion_tokens"] == 3


async def test_engines_that_cannot_go_on_are_passed_over_in_silence(parts: Parts) -> None:
    third = EngineTarget(kind="vllm", base_url="http://127.0.0.1:3", model="m3", continues=True)
    await parts.begin(with_grant(fallbacks=(UNPROVEN, OTHER_TARGET, third)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), DEATH)
    second = await parts.engines.stream(2)
    assert second.target == OTHER_TARGET
    second.say(Failure("engine_unreachable", "y"))
    (await parts.engines.stream(3)).say(Text("b"), Finish("stop"))
    assert told(await all_of(watch)) == ["a", "engine_moved", "b", "stop"]


@pytest.mark.parametrize(
    ("said", "fallback", "why"),
    [
        (Text("a"), UNPROVEN, "no other engine"),
        (Reasoning("a"), OTHER_TARGET, "reasoning"),
        (ToolCall("1", "f", "{}"), OTHER_TARGET, "tool"),
    ],
)
async def test_what_cannot_be_continued_ends_with_the_engines_failure_and_the_reason(
    parts: Parts, said: Delta, fallback: EngineTarget, why: str
) -> None:
    live = await parts.begin(with_grant(fallbacks=(fallback,)))
    parts.engines.streams[0].say(said, DEATH)
    await parts.finished()
    assert live.terminal is not None
    body = live.terminal.body()
    assert (body["code"], body["retryable"]) == (DEATH.code, True)
    assert why in body["message"]
    assert len(parts.engines.streams) == 1


async def test_the_only_engines_failure_is_told_as_it_is(parts: Parts) -> None:
    live = await parts.begin()
    parts.engines.streams[0].say(Text("a"), DEATH)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["message"] == DEATH.message


async def test_when_all_have_died_the_last_failure_is_told(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), DEATH)
    (await parts.engines.stream(2)).say(Failure("engine_unreachable", "y"))
    events = await all_of(watch)
    assert [event.name for event in events] == ["token", "job_error"]
    assert events[-1].body()["code"] == "engine_unreachable"


@pytest.mark.parametrize("trims", [True, False])
async def test_the_seam_has_no_white_space_twice(parts: Parts, trims: bool) -> None:
    other = msgspec.structs.replace(OTHER_TARGET, trims=trims)
    await parts.begin(with_grant(fallbacks=(other,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("one\n\n"), DEATH)
    second = await parts.engines.stream(2)
    assert second.call.prefix == "one\n\n"
    if trims:
        second.say(Text("\n"))
        second.say(Text("\n"))
    second.say(Text("two"), Finish("stop"))
    assert told(await all_of(watch)) == ["one\n\n", "engine_moved", "two", "stop"]


async def test_an_answer_with_all_its_tokens_is_complete_without_another_engine(
    parts: Parts,
) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,), max_tokens=2))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Text("b"), DEATH)
    assert told(await all_of(watch)) == ["a", "b", "length"]
    assert len(parts.engines.streams) == 1


async def test_a_text_is_continued_only_once_the_log_holds_it(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.log.open.clear()
    parts.engines.streams[0].say(Text("a"), DEATH)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(parts.engines.streams) == 1
    parts.log.open.set()
    assert (await parts.engines.stream(2)).call.prefix == "a"


async def test_a_log_that_cannot_be_read_meanwhile_is_waited_for(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOG_RETRY_S", 0.0)
    read, reads = parts.log.read, 0

    async def twice_away(*asked: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads <= 2:
            raise LogUnavailable("away")
        return await read(*asked)

    monkeypatch.setattr(parts.log, "read", twice_away)
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(Text("a"), DEATH)
    assert (await parts.engines.stream(2)).call.prefix == "a"


async def test_a_log_that_stays_away_ends_the_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, max_pause=0.01) as parts:
        live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))

        async def away(*_: object) -> None:
            raise LogUnavailable("away")

        monkeypatch.setattr(parts.log, "read", away)
        parts.engines.streams[0].say(Text("a"), DEATH)
        await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["code"] == "log_unavailable"


async def test_a_job_cancelled_during_the_move_asks_nobody(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.log.open.clear()
    parts.engines.streams[0].say(Text("a"), DEATH)
    parts.runner.cancel(JOB, "client")
    parts.log.open.set()
    await parts.finished()
    assert len(parts.engines.streams) == 1


async def test_the_next_engine_is_held_too_while_the_log_is_slow(parts: Parts) -> None:
    live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.log.open.clear()
    while not parts.engines.streams[0].paused:
        parts.engines.streams[0].say(Text("x" * 400))
    late = ScriptedStream(OTHER_TARGET, CALL, None)
    live.attach(late)
    assert late.paused


async def test_record_and_settlement_name_the_engine_that_served_last(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    assert (await parts.directory.state(JOB, USER)).public(None)["engine"] == "vllm"
    parts.engines.streams[0].say(Failure("engine_unreachable", "x"))
    second = await parts.engines.stream(2)
    assert (await parts.directory.state(JOB, USER)).public(None)["engine"] == "ollama"
    second.say(Text("a"), Finish("stop"))
    await parts.finished()
    assert (await parts.directory.state(JOB, USER)).public(None)["engine"] == "ollama"
    assert [settlement.engine for settlement in parts.spool.waiting] == ["ollama"]


async def test_a_prompt_that_is_too_long_is_so_for_every_engine(parts: Parts) -> None:
    live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(Failure("context_too_long", "x"))
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["code"] == "context_too_long"


async def test_an_engine_that_cannot_be_asked_at_all_leads_to_the_next(parts: Parts) -> None:
    parts.engines.refuse = {TARGET.base_url}
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    assert parts.engines.streams[0].target == OTHER_TARGET


@pytest.mark.parametrize("after_a_failure", [False, True])
async def test_a_job_that_no_engine_can_be_asked_for_ends(
    parts: Parts, after_a_failure: bool
) -> None:
    parts.engines.refuse = {OTHER_TARGET.base_url}
    job = with_grant(fallbacks=(OTHER_TARGET,))
    if after_a_failure:
        live = await parts.begin(job)
        parts.engines.streams[0].say(Failure("engine_error", "x"))
    else:
        parts.engines.refuse.add(TARGET.base_url)
        await parts.log.create(job)
        live = parts.runner.start(job, 1)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.name == "job_error"
    assert len(parts.spool) == 1


async def test_an_engine_that_counted_until_it_died_is_paid_by_its_count(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,), max_tokens=20))
    watch = await parts.watch()
    first = parts.engines.streams[0]
    first.counted = Usage(prompt_tokens=10, completion_tokens=8)
    first.say(Text("one two"), DEATH)
    second = await parts.engines.stream(2)
    # A chunk may be many tokens: what is left of the limit is told by the count.
    assert second.call.max_tokens == 12
    second.say(Text(" three"), Finish("stop", Usage(prompt_tokens=18, completion_tokens=3)))
    events = await all_of(watch)
    assert events[-1].body()["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 11,
        "cached_tokens": 0,
    }


async def test_the_quota_holds_for_all_engines_of_a_job_together(parts: Parts) -> None:
    job = with_grant(fallbacks=(OTHER_TARGET,), max_tokens=4, quota_limited=True)
    await parts.begin(job)
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Text("b"), DEATH)
    second = await parts.engines.stream(2)
    assert second.call.max_tokens == 2
    second.say(Text("c"), Text("d"))
    second.say(Finish("length", Usage(prompt_tokens=9, completion_tokens=2)))
    events = await all_of(watch)
    assert [event.name for event in events if event.name != "token"] == [
        "notice",
        "notice",
        "job_cancelled",
    ]
    assert events[0].body()["code"] == "limited"
    assert "4 tokens" in events[0].body()["message"]
    assert events[-1].body()["reason"] == "quota"
    assert events[-1].body()["usage"]["completion_tokens"] == 4
    await parts.finished()
    (settlement,) = parts.spool.waiting
    assert (settlement.outcome, settlement.code) == ("cancelled", "quota")


async def test_a_quota_that_is_used_up_when_the_engine_dies_ends_the_job(parts: Parts) -> None:
    await parts.begin(with_grant(fallbacks=(OTHER_TARGET,), max_tokens=2, quota_limited=True))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Text("b"), DEATH)
    assert (await all_of(watch))[-1].body()["reason"] == "quota"
    assert len(parts.engines.streams) == 1


async def test_a_cancelled_job_is_settled_by_the_last_count(parts: Parts) -> None:
    live = await parts.begin()
    parts.engines.streams[0].counted = Usage(prompt_tokens=3, completion_tokens=7)
    parts.engines.streams[0].say(Text("a b c"))
    parts.runner.cancel(JOB, "client")
    await parts.finished()
    assert live.terminal is not None
    (settlement,) = parts.spool.waiting
    assert settlement.usage == Usage(prompt_tokens=3, completion_tokens=7)
