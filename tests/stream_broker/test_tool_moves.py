"""Jobs with tools whose engine dies or whose broker does: what goes on, and what is lost."""

from __future__ import annotations

import asyncio

import pytest

from contracts.grants import Usage
from stream_broker.continuing import lost
from stream_broker.engines.deltas import Delta, Finish, Reasoning, Text
from stream_broker.events import Event
from stream_broker.log.base import Orphan
from stream_broker.record import JobHead, JobState
from stream_broker.relay import Relay
from stream_broker.rounds import rounds_of
from tests.stream_broker.building import JOB, NOW, OTHER_TARGET, TARGET
from tests.stream_broker.parts import Parts, all_of
from tests.stream_broker.tooling import DEATH, DONE, call, names, tooled
from tests.support.eventually import eventually_async


async def test_an_engine_that_dies_before_its_round_is_replaced(parts: Parts) -> None:
    await parts.begin(tooled("time", fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(call(1), DONE)
    (await parts.engines.stream(2)).say(DEATH)
    third = await parts.engines.stream(3)
    assert third.target == OTHER_TARGET
    assert [m["role"] for m in third.call.messages] == ["user", "assistant", "tool"]
    third.say(Text("a"), Finish("stop"))
    assert names(await all_of(watch))[-2:] == ["token", "job_complete"]


async def test_a_text_of_a_later_round_is_continued_behind_its_own_prefix(parts: Parts) -> None:
    await parts.begin(tooled("time", fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("before"), call(1), DONE)
    (await parts.engines.stream(2)).say(Text("it is "), DEATH)
    third = await parts.engines.stream(3)
    assert (third.call.prefix, third.call.tool_choice) == ("it is ", "none")
    assert [m["role"] for m in third.call.messages] == ["user", "assistant", "tool"]
    third.say(Text("noon"), Finish("stop"))
    assert names(await all_of(watch))[-3:] == ["notice", "token", "job_complete"]


async def test_an_engine_that_dies_with_an_open_call_ends_the_job(parts: Parts) -> None:
    await parts.begin(tooled("time", fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(call(1), DEATH)
    body = (await all_of(watch))[-1].body()
    assert body["code"] == DEATH.code
    assert "tool" in body["message"]


async def test_thoughts_of_a_round_that_is_over_stop_no_later_one(parts: Parts) -> None:
    await parts.begin(tooled("time", fallbacks=(OTHER_TARGET,)))
    watch = await parts.watch()
    parts.engines.streams[0].say(Reasoning("hm"), call(1), DONE)
    (await parts.engines.stream(2)).say(Text("a"), DEATH)
    (await parts.engines.stream(3)).say(Finish("stop"))
    assert names(await all_of(watch))[-1] == "job_complete"


def logged(job: JobHead, said: list[Delta], answered: list[str]) -> list[Event]:
    """What a relay has written before its broker died."""
    relay = fresh(job)
    events = relay.take(said, NOW)
    for call_id in answered:
        events += relay.tool_result(call_id, ok=True, content="x")
    return events


def fresh(job: JobHead) -> Relay:
    return Relay(JOB, NOW, log_max=1 << 20, prompt_estimate=5, rounds=rounds_of(job))


async def taken_over(parts: Parts, job: JobHead, log: list[Event]) -> None:
    await parts.log.create(job)
    from stream_broker.log.base import Append

    await parts.log.append([Append(JOB, 1, log, NOW, None)])
    state = JobState(head=job, last_seq=log[-1].seq)
    parts.runner.take_over(Orphan(state=state, epoch=1, cancelled=False, lapsed=0.0), log)


async def test_a_takeover_goes_on_behind_finished_rounds(parts: Parts) -> None:
    job = tooled("time")
    log = logged(job, [Text("see"), call(1), DONE], ["c1"])
    await taken_over(parts, job, log)
    stream = await parts.engines.stream()
    assert [m["role"] for m in stream.call.messages] == ["user", "assistant", "tool"]
    assert (stream.call.prefix, stream.call.max_tokens) == ("", 99)
    watch = await parts.watch(cursor=len(log))
    stream.say(Text("noon"), Finish("stop", Usage(prompt_tokens=50, completion_tokens=1)))
    events = await all_of(watch)
    assert names(events) == ["notice", "token", "job_complete"]
    assert events[-1].body()["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "cached_tokens": 0,
        "estimated": True,
    }


async def test_a_takeover_continues_the_text_since_the_last_result(parts: Parts) -> None:
    job = tooled("time")
    relay = fresh(job)
    log = relay.take([Text("see"), call(1), DONE], NOW)
    log += relay.tool_result("c1", ok=True, content="x")
    log += relay.take([Text("it is")], NOW)
    await taken_over(parts, job, log)
    stream = await parts.engines.stream()
    assert (stream.call.prefix, stream.call.tool_choice) == ("it is", "none")
    stream.say(Finish("stop"))


@pytest.mark.parametrize("answered", [[], ["c1"]])
async def test_a_takeover_with_an_open_call_is_a_lost_relay(
    parts: Parts, answered: list[str]
) -> None:
    job = tooled("time")
    await taken_over(parts, job, logged(job, [call(1), call(2), DONE], answered))
    watch = await parts.watch()
    body = (await all_of(watch))[-1].body()
    assert (body["code"], body["retryable"]) == ("relay_lost", True)


async def test_a_takeover_hands_back_what_was_to_be_handed_back(parts: Parts) -> None:
    job = tooled("time", own=("mine",))
    relay = fresh(job)
    log = relay.take([call(1), call(2, "mine"), DONE], NOW)
    # The end itself was not written any more.
    log += relay.tool_result("c1", ok=True, content="x")[:1]
    await taken_over(parts, job, log)
    watch = await parts.watch()
    assert (await all_of(watch))[-1].body()["finish_reason"] == "tool_calls"
    assert parts.engines.streams == []


def test_a_log_taken_in_says_the_same_of_its_rounds() -> None:
    job = tooled("time")
    relay = fresh(job)
    log = relay.take([Reasoning("hm"), Text("a"), call(1), call(2), DONE], NOW)
    for number in (2, 1):
        log += relay.tool_result(f"c{number}", ok=True, content="x")
    log += relay.take([Text("b")], NOW)
    resumed = fresh(job)
    assert resumed.replay(log) == "b"
    assert (resumed.rounds.finished, resumed.begun, resumed.reasoned) == (1, True, False)
    assert not resumed.rounds.open
    assert lost(job, resumed, [TARGET], whole=True) is None


async def test_results_of_calls_that_nobody_waits_for_are_no_events(parts: Parts) -> None:
    live = await parts.begin(tooled("time"))
    live.tool_result("c9", ok=True, content="x")
    live.cancel("client")
    live.tool_result("c1", ok=True, content="x")
    await parts.finished()
    assert live.relay.last_seq == 1


async def test_a_broker_that_shuts_down_lets_go_of_calls(parts: Parts) -> None:
    await parts.begin(tooled("time"))
    parts.control.tools_open.clear()
    parts.engines.streams[0].say(call(1), DONE)
    await eventually_async(lambda: bool(parts.control.invoked))
    async with asyncio.timeout(5):
        await parts.runner.aclose()
    assert not parts.runner.jobs
