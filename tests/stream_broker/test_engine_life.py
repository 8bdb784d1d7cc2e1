"""Jobs over real connections to engines that stall, die, or never begin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_broker.engines.client import EngineClient
from stream_broker.events import Event
from stream_broker.live import LiveJob
from stream_broker.record import JobHead
from tests.stream_broker.building import JOB, NOW, grant, head
from tests.stream_broker.conftest import Timers
from tests.stream_broker.engines.scripts import silent
from tests.stream_broker.engines.wires import DONE, content, event, finish
from tests.stream_broker.parts import Parts, all_of, running
from tests.support.scripted_engine import END, SSE_HEAD, Peer, Script, ScriptedEngine, chunk

IDLE_S = 0.05


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    client = EngineClient(connect_timeout=5.0, idle_timeout=60.0, line_max=1 << 20)
    yield client
    await client.aclose()


@pytest.fixture
async def parts(tmp_path: Path, client: EngineClient) -> AsyncIterator[Parts]:
    async with running(tmp_path, client=client) as parts:
        yield parts


def job(*engines: ScriptedEngine, **limits: Any) -> JobHead:
    """A job whose grant names these engines, all proven to continue a text."""
    targets = [msgspec.structs.replace(engine.target(), continues=True) for engine in engines]
    granted = grant(fallbacks=tuple(targets[1:]), **limits)
    return head(durability="none", grant=msgspec.structs.replace(granted, engine=targets[0]))


async def begin(parts: Parts, head: JobHead) -> LiveJob:
    await parts.log.create(head)
    return parts.runner.start(head, 1)


def usage(prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return event({"choices": [], "usage": counts})


def dies_after(*texts: str, last: bytes = b"") -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, *(chunk(content(text)) for text in texts), last)

    return script


class Heir:
    """An engine that goes on behind a text, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def __call__(self, peer: Peer) -> None:
        request = await peer.request()
        self.asked = json.loads(request.partition(b"\r\n\r\n")[2])
        rest = content(" three") + content(" four") + finish("stop") + usage(9, 2) + DONE
        await peer.send(SSE_HEAD, chunk(rest), END)


def told(events: list[Event]) -> list[str]:
    bodies = [event.body() for event in events]
    return [b.get("token") or b.get("code") or b["finish_reason"] for b in bodies]


@pytest.mark.parametrize(
    "last",
    [
        b"",
        END,
        b"ff\r\ndata: {",
        chunk(finish("abort") + DONE) + END,
        chunk(b'data: {"error":{"message":"EngineCore encountered an issue."}}\n\n' + DONE) + END,
        chunk(b"data: nonsense\n\n"),
        chunk(b'data: {"choices":[{"delta":{"content":"\xf0\x9f'),
    ],
    ids=["eof", "clean eof", "cut chunk", "sigterm", "engine core", "nonsense", "cut character"],
)
async def test_however_an_engine_dies_the_next_one_goes_on_behind_the_text(
    parts: Parts, last: bytes
) -> None:
    heir = Heir()
    async with ScriptedEngine(dies_after("one", " two", last=last)) as a, ScriptedEngine(heir) as b:
        await begin(parts, job(a, b))
        events = await all_of(await parts.watch())
    assert told(events) == ["one", " two", "engine_moved", " three", " four", "stop"]
    assert heir.asked["messages"][-1] == {"role": "assistant", "content": "one two"}
    assert (heir.asked["continue_final_message"], heir.asked["max_tokens"]) == (True, 98)
    told_usage = events[-1].body()["usage"]
    assert (told_usage["prompt_tokens"], told_usage["completion_tokens"]) == (7, 4)


async def test_an_engine_that_is_not_there_is_passed_over(parts: Parts) -> None:
    heir = Heir()
    async with ScriptedEngine(silent) as gone:
        pass
    async with ScriptedEngine(heir) as b:
        await begin(parts, job(gone, b))
        events = await all_of(await parts.watch())
    assert told(events) == [" three", " four", "stop"]
    assert heir.asked["messages"] == [{"role": "user", "content": "hi"}]


async def test_a_stalled_engine_is_given_up_for_the_next(tmp_path: Path) -> None:
    async def stalls(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("one")))
        await peer.gone()
        given_up.set()

    given_up = asyncio.Event()
    client = EngineClient(connect_timeout=5.0, idle_timeout=IDLE_S, line_max=1 << 20)
    async with (
        running(tmp_path, client=client) as parts,
        ScriptedEngine(stalls) as a,
        ScriptedEngine(Heir()) as b,
    ):
        await begin(parts, job(a, b))
        events = await all_of(await parts.watch())
        async with asyncio.timeout(5):
            await given_up.wait()
    await client.aclose()
    assert told(events) == ["one", "engine_moved", " three", " four", "stop"]


@pytest.mark.parametrize("said", [b"", SSE_HEAD, SSE_HEAD + chunk(content("one"))])
async def test_the_only_engine_s_stall_ends_the_job(tmp_path: Path, said: bytes) -> None:
    async def stalls(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.gone()

    client = EngineClient(connect_timeout=5.0, idle_timeout=IDLE_S, line_max=1 << 20)
    async with running(tmp_path, client=client) as parts, ScriptedEngine(stalls) as engine:
        await begin(parts, job(engine))
        events = await all_of(await parts.watch())
    await client.aclose()
    body = events[-1].body()
    assert (events[-1].name, body["code"], body["retryable"]) == (
        "job_error",
        "engine_stalled",
        True,
    )


class Prefill:
    """An engine that takes a request and says nothing, in prefill; `gone` once it was left."""

    def __init__(self) -> None:
        self.asked, self.gone = asyncio.Event(), asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        self.asked.set()
        await peer.gone()
        self.gone.set()


async def test_a_cancel_before_the_first_token_reaches_the_engine_within_a_second(
    parts: Parts,
) -> None:
    prefill = Prefill()
    async with ScriptedEngine(prefill) as engine:
        await begin(parts, job(engine))
        async with asyncio.timeout(5):
            await prefill.asked.wait()
        assert parts.runner.cancel(JOB, "client")
        async with asyncio.timeout(1):
            await prefill.gone.wait()
        await parts.finished()
    assert [settlement.outcome for settlement in parts.spool.waiting] == ["cancelled"]


async def test_a_cancel_while_an_engine_is_dialled_asks_nobody(parts: Parts) -> None:
    prefill = Prefill()
    async with ScriptedEngine(prefill) as engine:
        live = await begin(parts, job(engine))
        await asyncio.sleep(0)
        live.cancel("client")
        await parts.finished()
        assert not prefill.asked.is_set()


async def test_the_longest_duration_ends_a_job_and_its_generation(
    parts: Parts, timers: Timers
) -> None:
    prefill = Prefill()
    parts.clock.now = NOW + 1
    async with ScriptedEngine(prefill) as engine:
        await begin(parts, job(engine, deadline_s=100.0))
        async with asyncio.timeout(5):
            await prefill.asked.wait()
        await timers.fire(99.0)
        async with asyncio.timeout(1):
            await prefill.gone.wait()
        await parts.finished()
    assert [settlement.code for settlement in parts.spool.waiting] == ["deadline"]
