"""The client against engines that misbehave: each ends in one clear delta, nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from contracts.grants import EngineTarget
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient, EngineStream
from stream_broker.engines.deltas import MESSAGE_MAX, Delta, Failure, Finish, Text
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.wires import DONE, content, finish
from tests.support.scripted_engine import END, SSE_HEAD, Peer, Script, ScriptedEngine, answer, chunk

CALL = EngineCall(model="m", messages=[{"role": "user", "content": "Hi"}], max_tokens=5)
WHOLE = SSE_HEAD + chunk(content("Hi")) + chunk(finish("stop") + DONE) + END
HTML = b"<html><body>Traceback (most recent call last): secret at 10.0.0.7</body></html>"


class Deaf:
    """A sink that keeps nothing."""

    def deltas(self, deltas: list[Delta]) -> None:
        pass


async def stream_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(WHOLE)


async def keep_alive(peer: Peer) -> None:
    while True:
        await stream_once(peer)


async def silent(peer: Peer) -> None:
    await peer.gone()


def says(*pieces: bytes, reset: bool = False) -> Script:
    """A script that answers each request with these pieces and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if reset:
            peer.reset()

    return script


async def heard(client: EngineClient, target: EngineTarget) -> Listener:
    """One generation to its end."""
    listener = Listener()
    await client.start(target, CALL, listener)
    await listener.end()
    return listener


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
    assert sent["stream_options"] == {"include_usage": True}


async def test_start_does_not_wait_for_the_answer(client: EngineClient) -> None:
    async with ScriptedEngine(silent) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        stream.close()
    assert listener.heard == []


REFUSALS = [
    (answer("302 Found", b"", "Location: http://127.0.0.1/"), "engine_error"),
    (answer("500 Internal Server Error", HTML), "engine_error"),
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


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200", SSE_HEAD, SSE_HEAD + chunk(content("H"))])
async def test_silence_is_a_stall_wherever_it_begins(before: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(before)
        await peer.gone()

    client = EngineClient(connect_timeout=5.0, idle_timeout=0.05, line_max=1 << 20)
    async with ScriptedEngine(script) as engine:
        assert (await heard(client, engine.target())).code == "engine_stalled"
    await client.aclose()


async def test_a_timer_that_fires_early_waits_for_the_rest() -> None:
    now = 0.0
    client = EngineClient(5.0, idle_timeout=0.02, line_max=1 << 20, clock=lambda: now)
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await go.wait()
        await peer.send(chunk(content("Hi") + finish("stop") + DONE) + END)

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        await client.start(engine.target(), CALL, listener)
        loop = asyncio.get_running_loop()
        # Five timeouts pass on the loop, none on the client's clock.
        loop.call_later(0.1, go.set)
        await listener.end()
        assert listener.finish.reason == "stop"
    await client.aclose()


async def test_a_line_too_long_ends_the_stream_and_the_connection(client: EngineClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        for _ in range(160):
            await peer.send(chunk(b"x" * 65_536))
        await peer.gone()

    async with ScriptedEngine(script) as engine:
        listener = await heard(client, engine.target())
    assert listener.code == "engine_error"


async def test_a_connection_is_used_again(client: EngineClient) -> None:
    async with ScriptedEngine(keep_alive) as engine:
        for _ in range(3):
            assert (await heard(client, engine.target())).finish.reason == "stop"
        assert engine.connections == 1
        await asyncio.gather(*(heard(client, engine.target()) for _ in range(3)))
        assert engine.connections == 3


async def test_a_stale_connection_is_replaced_once(client: EngineClient) -> None:
    """llama.cpp promises to keep the connection and closes it: here at the next request."""

    async def stale(peer: Peer) -> None:
        await stream_once(peer)
        await peer.request()

    async with ScriptedEngine(stale, stream_once) as engine:
        await heard(client, engine.target())
        listener = await heard(client, engine.target())
        assert listener.heard == [Text("Hi"), Finish("stop")]
        assert engine.connections == 2


async def test_a_reused_connection_that_began_to_answer_is_not_replaced(
    client: EngineClient,
) -> None:
    async def script(peer: Peer) -> None:
        await stream_once(peer)
        await peer.request()
        await peer.send(b"HTTP/1.1 2")

    async with ScriptedEngine(script) as engine:
        await heard(client, engine.target())
        assert (await heard(client, engine.target())).code == "engine_error"
        assert engine.connections == 1


async def test_a_fresh_connection_is_not_replaced(client: EngineClient) -> None:
    async with ScriptedEngine(says(b"")) as engine:
        assert (await heard(client, engine.target())).code == "engine_unreachable"
        assert engine.connections == 1


@pytest.mark.parametrize(
    "after",
    [
        chunk(content("more")),
        END + b"HTTP/1.1 200 OK\r\n\r\nsurplus",
        END + b"junk",
        b"junk",
    ],
)
async def test_data_after_the_end_is_dropped_and_the_connection_with_it(
    client: EngineClient, after: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(WHOLE.removesuffix(END), after)
        await peer.gone()

    async with ScriptedEngine(script, stream_once) as engine:
        listener = await heard(client, engine.target())
        assert listener.heard == [Text("Hi"), Finish("stop")]
        await heard(client, engine.target())
        assert engine.connections == 2


async def test_an_answer_that_asks_to_close_is_closed(client: EngineClient) -> None:
    said = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.gone()

    async with ScriptedEngine(script) as engine:
        await heard(client, engine.target())
        await heard(client, engine.target())
        assert engine.connections == 2


async def test_close_in_mid_answer_is_seen_by_the_engine_and_ends_the_sink(
    client: EngineClient,
) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("Hi")))
        await peer.gone()
        gone.set()

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.close()
        stream.close()
        async with asyncio.timeout(1):
            await gone.wait()
    assert listener.heard == [Text("Hi")]


async def test_the_sink_may_close_the_stream_it_hears(client: EngineClient) -> None:
    class Closer(Listener):
        stream: EngineStream

        def deltas(self, deltas: list[Delta]) -> None:
            super().deltas(deltas)
            self.stream.close()

    pieces = [chunk(content(str(number))) for number in range(100)]
    async with ScriptedEngine(says(SSE_HEAD, *pieces), stream_once) as engine:
        closer = Closer()
        closer.stream = await client.start(engine.target(), CALL, closer)
        await closer.texts(1)
        await heard(client, engine.target())
    assert closer.calls == 1


async def test_close_after_the_end_leaves_the_connection_to_others(client: EngineClient) -> None:
    async with ScriptedEngine(keep_alive) as engine:
        for _ in range(2):
            listener = Listener()
            stream = await client.start(engine.target(), CALL, listener)
            await listener.end()
            stream.close()
        assert engine.connections == 1


async def test_paused_nothing_is_heard_and_silence_does_not_count() -> None:
    client = EngineClient(connect_timeout=5.0, idle_timeout=0.05, line_max=1 << 20)
    sent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("a")))
        await sent.wait()
        await peer.send(chunk(content("b") + finish("stop") + DONE), END)
        await peer.gone()

    async with ScriptedEngine(script) as engine, ScriptedEngine(silent) as mute:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.pause()
        sent.set()
        # Another generation runs into the idle timeout meanwhile.
        assert (await heard(client, mute.target())).code == "engine_stalled"
        assert listener.heard == [Text("a")]
        stream.resume()
        await listener.end()
    assert listener.heard == [Text("a"), Text("b"), Finish("stop")]
    await client.aclose()


async def test_paused_before_the_connection_is_open_is_paused(client: EngineClient) -> None:
    async with ScriptedEngine(stream_once) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        stream.pause()
        other = await heard(client, engine.target())
        assert other.finish.reason == "stop"
        assert listener.heard == []
        stream.resume()
        await listener.end()


async def test_a_paused_stream_holds_the_engine_by_its_window(client: EngineClient) -> None:
    """The engine cannot send more than the kernel's buffers hold: memory here is bounded."""
    sent = 0
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(SSE_HEAD)
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                async with asyncio.timeout(0.5):
                    await peer.send(chunk(content("x" * 60_000)))
                sent += 60_000
        stuck.set()

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.pause()
        await stuck.wait()
        stream.close()
    assert sent < 16 << 20


async def test_one_unthrottled_engine_does_not_starve_another(client: EngineClient) -> None:
    flood = chunk(content("x") * 1000)

    async def flooding(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        while True:
            await peer.send(flood)

    async with ScriptedEngine(flooding) as busy, ScriptedEngine(keep_alive) as calm:
        stream = await client.start(busy.target(), CALL, Deaf())
        for _ in range(20):
            await heard(client, calm.target())
        stream.close()


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
    target = EngineTarget(kind="tf_serving", base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(ValueError, match="tf_serving"):
        await client.start(target, CALL, Listener())
    target = EngineTarget(kind="vllm", base_url="ftp://127.0.0.1", model="m")
    with pytest.raises(ValueError, match="ftp"):
        await client.start(target, CALL, Listener())
