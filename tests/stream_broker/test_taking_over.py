"""Going on with a job whose relay has died, and giving it up."""

from __future__ import annotations

import msgspec
import pytest

from contracts.grants import Usage
from stream_broker.engines.deltas import Failure, Finish, Text
from stream_broker.events import Event
from stream_broker.live import LiveJob
from stream_broker.log.base import Orphan
from stream_broker.record import JobState
from tests.stream_broker.building import (
    OTHER_TARGET,
    TARGET,
    append,
    grant,
    head,
    tokens,
)
from tests.stream_broker.conftest import Timers
from tests.stream_broker.parts import Parts, all_of


def orphan(
    events: list[Event], *, cancelled: bool = False, lapsed: float = 0.0, **changes: object
) -> Orphan:
    state = JobState(head=head(durability="none", **changes), last_seq=len(events))
    return Orphan(state, 1, cancelled, lapsed)


async def taken_over(parts: Parts, orphaned: Orphan, events: list[Event]) -> LiveJob:
    await parts.log.create(orphaned.state.head)
    if events:
        await parts.log.append([append(events)])
    return parts.runner.take_over(orphaned, events)


async def test_a_taken_over_text_goes_on_where_it_was(parts: Parts) -> None:
    events = tokens(1, 3)
    await taken_over(parts, orphan(events), events)
    engine = await parts.engines.stream()
    assert (engine.call.prefix, engine.call.max_tokens) == ("t1 t2 t3 ", 97)
    watch = await parts.watch(cursor=2)
    engine.say(Text("more"), Finish("stop"))
    got = await all_of(watch)
    assert [(event.seq, event.name) for event in got] == [
        (3, "token"),
        (4, "notice"),
        (5, "token"),
        (6, "job_complete"),
    ]
    assert got[1].body()["code"] == "relay_moved"


@pytest.mark.parametrize(
    "call",
    [
        {"messages": [], "tools": [{"type": "function"}]},
        {"messages": [], "response_format": {"type": "json_object"}},
    ],
)
async def test_what_cannot_be_continued_ends_as_lost(parts: Parts, call: object) -> None:
    events = tokens(1, 2)
    live = await taken_over(parts, orphan(events, call=call), events)
    await parts.finished()
    assert live.terminal is not None
    assert (live.terminal.seq, live.terminal.body()["code"]) == (3, "relay_lost")
    assert live.terminal.body()["retryable"] is True
    assert parts.engines.streams == []
    assert len(parts.spool) == 1


async def test_without_an_engine_that_goes_on_behind_a_text_the_job_is_lost(parts: Parts) -> None:
    events = tokens(1, 2)
    unproven = msgspec.structs.replace(TARGET, continues=False)
    job = msgspec.structs.replace(grant(), engine=unproven)
    live = await taken_over(parts, orphan(events, grant=job), events)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["code"] == "relay_lost"
    assert "no engine" in live.terminal.body()["message"]


async def test_what_has_not_begun_is_asked_for_again_by_whoever_takes_over(parts: Parts) -> None:
    guided = {"messages": [], "response_format": {"type": "json_object"}}
    unproven = msgspec.structs.replace(TARGET, continues=False)
    job = msgspec.structs.replace(grant(), engine=unproven)
    await taken_over(parts, orphan([], call=guided, grant=job), [])
    engine = await parts.engines.stream()
    assert (engine.call.prefix, engine.call.response_format) == ("", {"type": "json_object"})


async def test_whoever_takes_over_begins_with_the_engine_that_served_last(parts: Parts) -> None:
    events = tokens(1, 1)
    orphaned = orphan(events, grant=grant(fallbacks=(OTHER_TARGET,)))
    orphaned.state.engine = 1
    await taken_over(parts, orphaned, events)
    (await parts.engines.stream()).say(Failure("engine_unreachable", "x"))
    assert (await parts.engines.stream(2)).target == TARGET
    assert parts.engines.streams[0].target == OTHER_TARGET


async def test_a_log_that_cannot_be_read_whole_is_not_continued(parts: Parts) -> None:
    events = tokens(1, 5)
    await parts.log.create(head(durability="none"))
    await parts.log.append([append(events)])
    live = parts.runner.take_over(orphan(events), events[:2])
    await parts.finished()
    assert live.terminal is not None
    assert (live.terminal.seq, live.terminal.body()["code"]) == (6, "relay_lost")


async def test_a_cancelled_orphan_ends_as_cancelled(parts: Parts, timers: Timers) -> None:
    live = await taken_over(parts, orphan([], cancelled=True), [])
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.name == "job_cancelled"
    assert timers.timers == []


async def test_an_orphan_with_all_its_tokens_ends_with_length(parts: Parts) -> None:
    events = tokens(1, 3)
    live = await taken_over(parts, orphan(events, grant=grant(max_tokens=3)), events)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["finish_reason"] == "length"


async def test_after_an_absence_that_ends_every_relay_nobody_goes_on(parts: Parts) -> None:
    """A relay that lived through it has failed the job after `max_pause`, and settled."""
    events = tokens(1, 3)
    live = await taken_over(parts, orphan(events, lapsed=28.0), events)
    await parts.finished()
    assert live.terminal is not None
    assert live.terminal.body()["code"] == "log_unavailable"
    assert [settlement.code for settlement in parts.spool.waiting] == ["log_unavailable"]
    assert parts.engines.streams == []


async def test_a_shorter_absence_is_no_end(parts: Parts) -> None:
    events = tokens(1, 3)
    await taken_over(parts, orphan(events, lapsed=27.9), events)
    assert (await parts.engines.stream()).call.prefix == "t1 t2 t3 "


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        # All of the quota was used before the broker died.
        (5, Usage(prompt_tokens=5, completion_tokens=5, estimated=True)),
        (3, Usage(prompt_tokens=4, completion_tokens=5, estimated=True)),
    ],
)
async def test_the_quota_ends_a_taken_over_job_too(parts: Parts, said: int, usage: Usage) -> None:
    events = tokens(1, said)
    granted = grant(max_tokens=5, quota_limited=True)
    live = await taken_over(parts, orphan(events, grant=granted), events)
    if said < 5:
        engine = await parts.engines.stream()
        engine.say(Text("more"), Finish("length", Usage(prompt_tokens=7, completion_tokens=2)))
    await parts.finished()
    assert live.terminal is not None
    assert (live.terminal.name, live.terminal.body()["reason"]) == ("job_cancelled", "quota")
    (settlement,) = parts.spool.waiting
    assert (settlement.code, settlement.usage) == ("quota", usage)
