from __future__ import annotations

import pytest

from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall
from tests.stream_broker.building import OTHER_TARGET, TARGET
from tests.stream_broker.parts import Parts, all_of, with_grant


@pytest.mark.parametrize("code", ["engine_unreachable", "engine_error"])
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


async def test_the_last_engines_failure_is_the_jobs(parts: Parts) -> None:
    live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(Failure("engine_unreachable", "x"))
    (await parts.engines.stream(2)).say(Failure("engine_error", "y"))
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["message"] == "y"


@pytest.mark.parametrize(
    "said", [Text("a"), Reasoning("a"), ToolCall("1", "f", "{}")], ids=lambda said: type(said)
)
async def test_after_its_first_chunk_a_failure_ends_the_job(parts: Parts, said: Delta) -> None:
    live = await parts.begin(with_grant(fallbacks=(OTHER_TARGET,)))
    parts.engines.streams[0].say(said)
    parts.engines.streams[0].say(Failure("engine_error", "x"))
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.name == "job_error"
    assert len(parts.engines.streams) == 1


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
