"""Cuts, silence and refusals in mid-answer: nothing comes twice, nothing is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_log import Connection, Job
from tests.support.scripted_wire import ScriptedWire

pytestmark = pytest.mark.faults
TOKENS = [f"w{i} " for i in range(12)]
TEXT = "".join(TOKENS).strip()


async def full_answer(chat: Chat, wire: ScriptedWire, *connections: Connection) -> Job:
    """Asks, with these connections, and sees the whole answer."""
    wire.connections.extend(connections)
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS)
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert (await chat.stored())[0]["text"].strip() == TEXT
    return job


@pytest.mark.parametrize(
    "first",
    [
        Connection(until=5, then="cut"),
        Connection(until=0, then="cut"),
        Connection(until=5),
        Connection(piece=1),
        Connection(piece=7, until=9, then="cut"),
    ],
    ids=["cut inside a block", "cut before the first", "clean end", "byte by byte", "slow and cut"],
)
async def test_it_goes_on_after(chat: Chat, wire: ScriptedWire, first: Connection) -> None:
    await full_answer(chat, wire, first)
    streams = wire.of("/v1/stream")
    assert streams[0].query["heartbeat"] == "3"
    assert streams[0].cursor == 0
    if first.until is not None:
        # A browser may throw away what it had received when it learns of the cut.
        assert streams[1].cursor <= first.until
        assert streams[1].headers.get("last-event-id", "0") == str(streams[1].cursor)
        await expect(chat.answer.locator(".facts")).to_contain_text("1 reconnect")
    assert len(wire.of("/v1/jobs")) == 1


async def test_what_comes_twice_is_shown_once(chat: Chat, wire: ScriptedWire) -> None:
    await full_answer(chat, wire, Connection(until=8, then="cut"), Connection(repeat=5))


async def test_text_with_a_hole_is_never_shown(chat: Chat, wire: ScriptedWire) -> None:
    hole = (
        b'id: 1\nevent: token\ndata: {"token":"w0 ","seq":1}\n\n'
        b'id: 3\nevent: token\ndata: {"token":"w2 ","seq":3}\n\n'
    )
    await full_answer(chat, wire, Connection(raw=hole))
    assert wire.of("/v1/stream")[1].cursor == 1


async def test_broken_json_is_read_again(chat: Chat, wire: ScriptedWire) -> None:
    await full_answer(chat, wire, Connection(raw=b'id: 1\nevent: token\ndata: {"tok\n\n'))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_refusal_is_waited_out(chat: Chat, wire: ScriptedWire, status: int) -> None:
    await full_answer(
        chat, wire, Connection(until=3), Connection(status=status), Connection(status=status)
    )
    assert [seen.cursor for seen in wire.of("/v1/stream")] == [0, 3, 3, 3]


async def test_retry_after_is_honoured_and_cut_short_by_the_network(
    chat: Chat, wire: ScriptedWire
) -> None:
    wire.connections.extend(
        [Connection(until=3), Connection(status=503, headers={"Retry-After": "600"})]
    )
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS)
    await job.complete()
    await wire.request("/v1/stream", 2)
    await expect(chat.connection).to_have_attribute("data-phase", "waiting")
    await expect(chat.connection).to_contain_text("Reconnecting")
    await chat.page.evaluate("() => dispatchEvent(new Event('online'))")
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)


async def test_silence_for_two_heartbeats_is_a_lost_connection(
    chat: Chat, wire: ScriptedWire
) -> None:
    wire.connections.append(Connection(until=4, then="nothing"))
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS)
    await job.complete()
    began = asyncio.get_running_loop().time()
    await wire.request("/v1/stream", 2)
    assert 4 < asyncio.get_running_loop().time() - began < 8
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert wire.of("/v1/stream")[1].cursor == 4


async def test_keep_alives_are_life(chat: Chat, wire: ScriptedWire) -> None:
    """An engine that thinks for longer than two heartbeats is waited for on the same connection."""
    await chat.ask("Count")
    job = await wire.job()
    await job.say(TOKENS[0])
    await expect(chat.prose).to_have_text(TOKENS[0].strip())
    quiet = asyncio.Condition()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7.5), quiet:
            await quiet.wait()
    await job.say(*TOKENS[1:])
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert len(wire.of("/v1/stream")) == 1


async def test_offline_and_back(chat: Chat, wire: ScriptedWire) -> None:
    wire.connections.append(Connection(until=4, then="nothing"))
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS[:4])
    await expect(chat.prose).to_contain_text("w3")
    await chat.page.context.set_offline(True)
    await job.say(*TOKENS[4:8])
    await expect(chat.connection).to_have_attribute("data-phase", "offline", timeout=12_000)
    await chat.page.context.set_offline(False)
    await job.say(*TOKENS[8:])
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert len(wire.of("/v1/jobs")) == 1


async def test_an_expired_log_is_replaced_by_the_record(chat: Chat, wire: ScriptedWire) -> None:
    job = await full_answer_with(chat, wire, Connection(status=410, code="log_expired"))
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert len(wire.of(f"/v1/jobs/{job.job_id}")) == 1


async def test_an_expired_record_is_said(chat: Chat, wire: ScriptedWire) -> None:
    wire.connections.append(Connection(until=4))
    await chat.ask("Count")
    job = await wire.job()
    wire.expired.add(job.job_id)
    await job.say(*TOKENS)
    await job.complete()
    await chat.finished()
    await expect(chat.answer.get_by_role("alert")).to_contain_text("log_expired")


async def full_answer_with(chat: Chat, wire: ScriptedWire, second: Connection) -> Job:
    wire.connections.extend([Connection(until=4), second])
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS)
    await job.complete()
    return job


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (Connection(status=404, code="unknown_job"), "unknown_job"),
        (Connection(status=403, code="scope_missing"), "scope_missing"),
    ],
)
async def test_an_answer_that_is_gone_is_said(
    chat: Chat, wire: ScriptedWire, second: Connection, code: str
) -> None:
    await full_answer_with(chat, wire, second)
    await chat.finished()
    await expect(chat.answer.get_by_role("alert")).to_contain_text(code)
    await expect(chat.prose).to_have_text("w0 w1 w2 w3")


async def test_signing_in_again_goes_on_with_the_answer(chat: Chat, wire: ScriptedWire) -> None:
    wire.connections.append(Connection(until=4, then="nothing"))
    await chat.ask("Count")
    job = await wire.job()
    await job.say(*TOKENS)
    await job.complete()
    await expect(chat.prose).to_contain_text("w3")
    wire.signed_in = False
    await wire.request("/v1/stream", 2)
    await chat.page.get_by_label("API key").fill(wire.api_key)
    await chat.page.get_by_role("button", name="Sign in").click()
    await chat.finished()
    await expect(chat.prose).to_have_text(TEXT)
    assert wire.of("/v1/stream")[-1].cursor == 4


async def test_what_the_browser_measured_is_reported(chat: Chat, wire: ScriptedWire) -> None:
    job = await full_answer(chat, wire, Connection(until=6, then="cut"))
    report: dict[str, Any] = (await wire.request("/v1/telemetry")).body
    assert report["job_id"] == job.job_id
    assert report["ttft_ms"] > 0
    assert len(report["gaps_ms"]) == len(TOKENS) - 1
    assert report["reconnects"] == 1
    assert report["stalls"] >= 0
