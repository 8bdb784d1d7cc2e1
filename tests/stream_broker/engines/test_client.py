"""The client against engines that misbehave: each ends in one clear delta, nothing hangs."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from contracts.grants import EngineKind, EngineTarget
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import MESSAGE_MAX, Failure, Finish, Text
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.scripts import (
    CALL,
    WHOLE,
    heard,
    keep_alive,
    says,
    silent,
    stream_once,
)
from tests.stream_broker.engines.wires import DONE, content, finish
from tests.support.scripted_engine import END, SSE_HEAD, Peer, ScriptedEngine, answer, chunk

HTML = b"<html><body>Traceback (most recent call last): secret at 10.0.0.7</body></html>"


async def test_a_stream_comes_as_deltas(client: EngineClient) -> None:
    async with ScriptedEngine(stream_once) as engine:
        listener = await heard(client, engine.target())
    assert listener.heard == [Text("Hi"), Finish("stop")]


async def test_the_request_names_the_targets_model_and_asks_for_usage(client: EngineClient) -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(WHOLE)

    async with ScriptedEngine(script) as engine:
        target = EngineTarget(
            kind="vllm", base_url=f"http://127.0.0.1:{engine.port}/base/", model="theirs"
        )
        await heard(client, target)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /base/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
    sent = json.loads(body)
    assert sent["model"] == "theirs"
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


async def test_a_traced_call_says_whose_it_is(client: EngineClient) -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(WHOLE)

    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with ScriptedEngine(script) as engine:
        listener = Listener()
        call = msgspec.structs.replace(CALL, traceparent=trace)
        await client.start(engine.target(), call, listener)
        await listener.end()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert f"\r\ntraceparent: {trace}".encode() in head
    assert b"traceparent" not in body


async def test_start_does_not_wait_for_the_answer(client: EngineClient) -> None:
    async with ScriptedEngine(silent) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        stream.close()
    assert listener.heard == []


NDJSON_HEAD = SSE_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
LINE = b'{"message":{"content":"Hi"},"done":false}\n'
LAST = b'{"message":{"content":""},"done":true,"done_reason":"stop"}\n'

REFUSALS = [
    (answer("302 Found", b"", "Location: http://127.0.0.1/"), "engine_error"),
    (answer("500 Internal Server Error", HTML), "engine_error"),
    (answer("403 Forbidden", HTML), "engine_error"),
    (answer("404 Not Found", HTML), "engine_error"),
    (answer("502 Bad Gateway", HTML), "engine_error"),
    (answer("503 Service Unavailable", b'{"error":{"message":"Loading model"}}'), "engine_error"),
    (answer("404 Not Found", b'{"error":{"message":"no such model"}}'), "engine_error"),
    (answer("400 Bad Request", b'{"error":{"message":"odd temperature"}}'), "engine_error"),
    (answer("400 Bad Request", b'{"error":"exceeds the context length"}'), "context_too_long"),
    (b"HTTP/1.1 500 Oops\r\n\r\nno length " + HTML, "engine_error"),
    (b"HTTP/1.1 400 Bad\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000, "engine_error"),
    (b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\ncut", "engine_error"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "engine_error"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "engine_error"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "engine_error"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "engine_error"),
    (b"HTTP/1.1 200 OK\r\nContent-Le", "engine_error"),
    (b"", "engine_unreachable"),
    (answer("200 OK", HTML), "engine_truncated"),
    (answer("200 OK", b""), "engine_truncated"),
    (SSE_HEAD + chunk(content("Hi")), "engine_truncated"),
    (SSE_HEAD + chunk(content("Hi")) + END, "engine_truncated"),
    (SSE_HEAD + b"ff\r\n" + content("Hi"), "engine_truncated"),
    (SSE_HEAD + chunk(content("Hi")) + b"not a chunk", "engine_truncated"),
    (SSE_HEAD + chunk(content("Hi") + finish("stop")), "engine_truncated"),
    (SSE_HEAD + chunk(b"data: {\n\n"), "engine_error"),
    (SSE_HEAD + chunk(b"data: [1]\n\n") + END, "engine_error"),
    (SSE_HEAD + chunk(b'data: {"choices":"x"}\n\n') + END, "engine_error"),
    (SSE_HEAD + chunk(b"\x00\xff\xfe" * 99 + b"\n\n") + END, "engine_truncated"),
    (SSE_HEAD + chunk(content("Hi") + finish("abort") + DONE) + END, "engine_truncated"),
    (SSE_HEAD + chunk(b'data: {"error":{"message":"stack"}}\n\n' + DONE) + END, "engine_error"),
]


@pytest.mark.parametrize(("said", "code"), REFUSALS)
@pytest.mark.parametrize("reset", [False, True])
async def test_what_goes_wrong_is_one_failure(
    client: EngineClient, said: bytes, code: str, reset: bool
) -> None:
    async with ScriptedEngine(says(said, reset=reset)) as engine:
        listener = await heard(client, engine.target())
    last = listener.heard[-1]
    assert isinstance(last, Failure)
    assert last.code == code
    assert len(last.message) <= MESSAGE_MAX
    for internal in ("<", "Traceback", "10.0.0.7", "stack"):
        assert internal not in last.message


NDJSON_REFUSALS = [
    (answer("404 Not Found", b'{"error":"model \'x\' not found"}'), "engine_error"),
    (answer("500 Internal Server Error", HTML), "engine_error"),
    (answer("503 Service Unavailable", b'{"error":"server busy"}'), "engine_error"),
    (answer("307 Temporary Redirect", b"", "Location: http://127.0.0.1/"), "engine_error"),
    (answer("200 OK", HTML), "engine_truncated"),
    (answer("200 OK", b""), "engine_truncated"),
    (b"", "engine_unreachable"),
    (NDJSON_HEAD + chunk(LINE), "engine_truncated"),
    (NDJSON_HEAD + chunk(LINE) + END, "engine_truncated"),
    (NDJSON_HEAD + chunk(LINE + LAST[:20]) + END, "engine_truncated"),
    (NDJSON_HEAD + chunk(LINE + b"not json\n") + END, "engine_error"),
    (NDJSON_HEAD + chunk(LINE + b"[1, 2]\n") + END, "engine_error"),
    (NDJSON_HEAD + chunk(LINE + b'{"error":"stack at 10.0.0.7"}\n') + END, "engine_error"),
    (NDJSON_HEAD + chunk(content("Hi") + finish("stop") + DONE) + END, "engine_error"),
]


@pytest.mark.parametrize(("said", "code"), NDJSON_REFUSALS)
async def test_what_goes_wrong_with_ollama_is_one_failure_too(
    client: EngineClient, said: bytes, code: str
) -> None:
    async with ScriptedEngine(says(said)) as engine:
        listener = await heard(client, engine.target("ollama"))
    last = listener.heard[-1]
    assert isinstance(last, Failure)
    assert last.code == code
    for internal in ("<", "Traceback", "10.0.0.7", "stack"):
        assert internal not in last.message


WIRES: list[tuple[EngineKind, bytes, bytes, bytes]] = [
    ("vllm", SSE_HEAD, content("Hi"), finish("stop") + DONE),
    ("ollama", NDJSON_HEAD, LINE, LAST),
]


@pytest.mark.parametrize(("kind", "head", "text", "end"), WIRES)
async def test_what_comes_after_the_end_is_not_heard(
    client: EngineClient, kind: EngineKind, head: bytes, text: bytes, end: bytes
) -> None:
    said = head + chunk(text + end + text) + chunk(text + end) + END
    async with ScriptedEngine(says(said)) as engine:
        listener = await heard(client, engine.target(kind))
        assert await heard(client, engine.target(kind))
    assert listener.text == "Hi"
    assert listener.finish.reason == "stop"


@pytest.mark.parametrize(("kind", "head", "text", "end"), WIRES)
async def test_bytes_that_are_no_text_are_replaced(
    client: EngineClient, kind: EngineKind, head: bytes, text: bytes, end: bytes
) -> None:
    broken = text.replace(b"Hi", b"H\xf0\x9f\xa6i")
    async with ScriptedEngine(says(head + chunk(broken + end) + END)) as engine:
        listener = await heard(client, engine.target(kind))
    assert listener.text == "H\ufffdi"
    assert listener.finish.reason == "stop"


@pytest.mark.parametrize(("kind", "head", "text", "end"), WIRES)
async def test_an_answer_that_drips_is_an_answer(
    client: EngineClient, kind: EngineKind, head: bytes, text: bytes, end: bytes
) -> None:
    async def drip(peer: Peer) -> None:
        await peer.request()
        for byte in head + chunk(text + end) + END:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with ScriptedEngine(drip) as engine:
        listener = await heard(client, engine.target(kind))
    assert (listener.text, listener.finish.reason) == ("Hi", "stop")


async def test_a_redirect_is_not_followed(client: EngineClient) -> None:
    async with ScriptedEngine(stream_once) as elsewhere:
        target = f"Location: http://127.0.0.1:{elsewhere.port}/v1/chat/completions"
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            async with ScriptedEngine(says(answer(status, b"", target))) as engine:
                assert (await heard(client, engine.target())).code == "engine_error"
        assert elsewhere.connections == 0


async def test_a_plain_refusal_is_told_in_the_engines_words(client: EngineClient) -> None:
    said = answer("400 Bad Request", b'{"error":{"message":"temperature must be positive"}}')
    async with ScriptedEngine(says(said)) as engine:
        listener = await heard(client, engine.target())
    assert "temperature must be positive" in str(listener.heard[-1])


async def test_a_body_that_ends_with_the_connection_may_be_clean(client: EngineClient) -> None:
    said = b"HTTP/1.1 200 OK\r\n\r\n" + content("Hi") + finish("stop")
    async with ScriptedEngine(says(said)) as engine:
        listener = await heard(client, engine.target())
    assert listener.heard == [Text("Hi"), Finish("stop")]


async def test_an_interim_answer_is_passed_over(client: EngineClient) -> None:
    async with ScriptedEngine(says(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE)) as engine:
        listener = await heard(client, engine.target())
    assert listener.heard[-1] == Finish("stop")


async def test_nobody_there_is_unreachable(client: EngineClient) -> None:
    async with ScriptedEngine(silent) as engine:
        target = engine.target()
    assert (await heard(client, target)).code == "engine_unreachable"


async def test_a_name_that_does_not_resolve_is_unreachable(client: EngineClient) -> None:
    target = EngineTarget(kind="vllm", base_url="http://nowhere.invalid:1", model="m")
    assert (await heard(client, target)).code == "engine_unreachable"


async def test_a_connection_that_does_not_open_in_time_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("stream_broker.engines.client.dial", never)
    client = EngineClient(connect_timeout=0.01, idle_timeout=60.0, line_max=1 << 20)
    target = EngineTarget(kind="vllm", base_url="http://127.0.0.1:1", model="m")
    assert (await heard(client, target)).code == "engine_unreachable"
    await client.aclose()


@pytest.mark.parametrize(("kind", "head", "text", "end"), WIRES)
async def test_a_line_of_ten_megabytes_ends_the_stream_and_the_connection(
    client: EngineClient, kind: EngineKind, head: bytes, text: bytes, end: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head, chunk(text))
        for _ in range(160):
            await peer.send(chunk(b"x" * 65_536))
        await peer.gone()

    async with ScriptedEngine(script) as engine:
        listener = await heard(client, engine.target(kind))
    assert (listener.text, listener.code) == ("Hi", "engine_error")


async def test_aclose_ends_everything_without_a_word() -> None:
    client = EngineClient(connect_timeout=5.0, idle_timeout=60.0, line_max=1 << 20)
    async with ScriptedEngine(keep_alive) as idle, ScriptedEngine(silent) as engine:
        await heard(client, idle.target())
        listeners = [Listener() for _ in range(3)]
        for listener in listeners:
            await client.start(engine.target(), CALL, listener)
        await client.aclose()
        await client.aclose()
    assert all(listener.heard == [] for listener in listeners)
    with pytest.raises(RuntimeError):
        await client.start(engine.target(), CALL, Listener())


async def test_a_kind_that_does_not_stream_is_refused(client: EngineClient) -> None:
    target = EngineTarget(kind="abacus", base_url="http://127.0.0.1:1", model="m")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="abacus"):
        await client.start(target, CALL, Listener())
    target = EngineTarget(kind="vllm", base_url="ftp://127.0.0.1", model="m")
    with pytest.raises(ValueError, match="ftp"):
        await client.start(target, CALL, Listener())
