"""The native part against the Python that does the same: every byte and every field.

Two worlds are told the same, one of them with shortcuts; after each step both have to be
one picture.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_broker import native
from stream_broker.engines.answer import HttpAnswer
from tests.stream_broker.native_world import Shape, StillLoop, World

loaded = native.load()
pytestmark = pytest.mark.skipif(loaded is None, reason="okome_native is not installed")

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
# JSON strings that engines may write, and what is none or says nothing.
STRINGS = (
    *(f'"{text}"' for text in ("a", " word", "x" * 300, "\\n", '\\"', "\\\\", "\\b\\f\\r\\t")),
    *(f'"{text}"' for text in ("é", "日本", "😀", "\x7f", "\\/", "\\u00e9", "\\u0000", "\\u0041")),
    *('"\\ud83d\\ude00"', '"token\\":,\\"ts\\":"', '"token"'),
)
NO_STRINGS = ('"\\ud800"', '"', '""', '"a"b"', '"a\nb"', '"\\x"', "null", "7", '"a","role":"b"')
Step = tuple[str, Any]


def content(text: str, *, usage: int | None = None, **more: Any) -> bytes:
    """The event of a chunk whose content is the JSON `text`."""
    mark = "@@"
    choice = {"index": 0, "delta": {"content": mark}, "logprobs": None, "finish_reason": None}
    chunk: dict[str, Any] = BASE | {"choices": [choice | more]}
    if usage is not None:
        chunk["usage"] = {
            "prompt_tokens": 12,
            "completion_tokens": usage,
        }
    body = json.dumps(chunk, separators=(",", ":")).replace(f'"{mark}"', text)
    return b"data: " + body.encode("utf-8", "surrogatepass") + b"\n\n"


def other(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps(BASE | {"choices": [choice]}).encode() + b"\n\n"


STRANGE = (
    other({"role": "assistant", "content": ""}),
    other({"reasoning_content": "hm"}),
    other({"content": "end"}, "stop"),
    b"data: [DONE]\n\n",
    b": comment\n\n",
    b"data: {not json\n\n",
    b"data: \xff\xfe\n\n",
    b"\n\n",
    content('"crlf"').replace(b"\n\n", b"\r\n\r\n"),
    content('"other id"').replace(b"chatcmpl-1", b"chatcmpl-2"),
    content('"é"').replace("é".encode(), b"\xe9"),
)


def chunk(body: bytes, form: str = "%x\r\n") -> bytes:
    return (form % len(body)).encode() + body + b"\r\n"


texts = st.one_of(st.sampled_from(STRINGS), st.text(max_size=20).map(json.dumps))
odd = st.sampled_from((*STRINGS, *NO_STRINGS))
plain = st.sampled_from(('"a"', '" word"', '"\\n"', f'"{"x" * 300}"'))
usual = st.one_of(plain, plain, plain, texts)
FORMS = ("%X\r\n", "%06x\r\n", "%x;ext=1\r\n", "0x%x\r\n", "%07x\r\n")


@st.composite
def bodies(draw: st.DrawFn) -> list[bytes]:
    """Events, most of them nothing but text; of an engine that counts, or that does not."""
    count = draw(st.booleans())
    its = draw(st.lists(usual, max_size=20))
    said = [content(text, usage=at if count else None) for at, text in enumerate(its)]
    first = content('"begin"', usage=0 if count else None)
    said[:0] = draw(st.sampled_from(([first], [first], [first], [])))
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        strange = draw(st.one_of(st.sampled_from(STRANGE), odd.map(content), counted))
        said.insert(draw(st.integers(0, len(said))), strange)
    return said


counted = st.builds(content, odd, usage=st.sampled_from((0, 7, 10**17, 10**18, 10**19)))


@st.composite
def answers(draw: st.DrawFn) -> list[bytes]:
    """The bytes of an answer, as reads."""
    said = draw(bodies())
    per_chunk = draw(st.sampled_from((1, 1, 1, 2, 3)))
    chunks = [chunk(b"".join(said[at : at + per_chunk])) for at in range(0, len(said), per_chunk)]
    if chunks and draw(st.booleans()):
        at = draw(st.integers(0, len(chunks) - 1))
        chunks[at] = chunk(said[at], draw(st.sampled_from(FORMS)))
    if draw(st.booleans()):
        chunks.append(b"0\r\n\r\n")
    whole = [HEAD + b"".join(chunks[:1]), *chunks[1:]]
    if draw(st.booleans()):
        together = draw(st.sampled_from((1, 1, 7, 20)))
        return [b"".join(whole[at : at + together]) for at in range(0, len(whole), together)]
    stream = b"".join(whole)
    cuts = sorted(draw(st.sets(st.integers(len(whole[0]), len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]


steps = st.one_of(
    st.just(("nothing", None)),
    st.just(("nothing", None)),
    st.tuples(st.just("tick"), st.sampled_from((0.0001, 0.02, 0.3, 0.5, 2.0))),
    st.tuples(st.just("back"), st.just(5.0)),
    st.tuples(st.just("join"), st.sampled_from(("openai", "native", "chat"))),
    st.tuples(st.just("leave"), st.just(0)),
    st.tuples(st.just("take"), st.just(None)),
    st.tuples(st.just("store"), st.just(None)),
)
ends = st.sampled_from((None, None, None, None, ("cancel", "client"), ("lost", None)))
shapes = st.builds(
    Shape,
    view=st.sampled_from(("openai", "openai", "native", "chat")),
    log_max=st.sampled_from((1 << 20, 1 << 20, 1 << 20, 2500)),
    window=st.sampled_from((24 << 10, 700)),
    backlog=st.sampled_from((64 << 10, 1500)),
    windows=st.sampled_from((1, 5000)),
    paced=st.booleans(),
    direct=st.sampled_from((True, True, False)),
    line_max=st.sampled_from((1 << 20, 1 << 20, 1 << 20, 400)),
)


async def both(shape: Shape, play: Iterable[Step]) -> None:
    """Tells both worlds the same."""
    worlds = [World(None, shape), World(loaded, shape)]
    for world in worlds:
        await world.begin()
    for name, value in play:
        for world in worlds:
            step(world, name, value)
        # Timers of the pacer, and what was put off to a later turn.
        for _ in range(3):
            await asyncio.sleep(0)
        first, second = (world.picture() for world in worlds)
        assert second == first, name


def step(world: World, name: str, value: Any) -> None:
    match name:
        case "read":
            world.hear(value)
        case "tick":
            world.clock.now += value
        case "back":
            world.clock.now -= value
        case "join":
            world.join(value, cursor=min(world.window.shown, 2))
        case "leave":
            world.viewers[value].pump.end("gone")
        case "take":
            for viewer in world.viewers:
                viewer.take()
        case "store":
            world.store()
        case "cancel":
            world.live.cancel(value)
        case "lost" if not world.socket.is_closing():
            world.connection.connection_lost(None)


def run(shape: Shape, play: list[Step]) -> None:
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        runner.run(both(shape, moving(play)))


def moving(play: list[Step]) -> Iterable[Step]:
    """The loop's time moves with the clocks, once for both worlds."""
    for name, value in play:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StillLoop)
        loop.now += value if name == "tick" else 0.0
        yield name, value


BEGIN = [HEAD + chunk(content('"a"'))]
LONG = content(f'"{"x" * 300}"')
STILL: list[Step] = [("nothing", None)]


@settings(max_examples=600, deadline=None)
@given(shapes, answers(), st.lists(steps, min_size=1, max_size=10), ends)
@example(Shape(), [*BEGIN, chunk(LONG) * 40], STILL, None)
@example(Shape(windows=5000), [*BEGIN, chunk(LONG) * 40], STILL, None)
@example(Shape(window=700), [*BEGIN, *[chunk(LONG) * 10] * 4], [("take", None)], None)
@example(Shape(backlog=1500), [*BEGIN, chunk(LONG) * 10], STILL, None)
@example(Shape(), [*BEGIN, chunk(content('"é"').replace("é".encode(), b"\xe9"))], STILL, None)
@example(
    Shape(view="native"),
    [*BEGIN, chunk(content('"b"'))[:100], chunk(content('"b"'))[100:] * 3],
    [("tick", 0.02)],
    None,
)
def test_both_ways_are_one(
    shape: Shape, reads: list[bytes], between: list[Step], end: Step | None
) -> None:
    play: list[Step] = []
    for number, data in enumerate(reads):
        play += [between[number % len(between)], ("read", data)]
    if end is not None:
        play.insert(len(play) // 2 + 1, end)
    run(shape, [*play, ("store", None), ("take", None), ("tick", 1.0), ("take", None)])


@pytest.mark.parametrize("view", ["openai", "native"])
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "by a writer"])
def test_what_is_nothing_but_text_is_not_parsed(
    view: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    feed = HttpAnswer.feed

    def noting(self: HttpAnswer, data: bytes) -> bytes:
        parsed.append(data)
        return feed(self, data)

    monkeypatch.setattr(HttpAnswer, "feed", noting)
    tokens = [chunk(content(f'"{number}"')) for number in range(100)]
    last = chunk(other({}, "stop") + b"data: [DONE]\n\n")

    async def play() -> World:
        world = World(loaded, Shape(view=view, direct=direct))
        await world.begin()
        for data in (*BEGIN, *tokens, last):
            world.hear(data)
            world.store()
            world.viewers[0].take()
        return world

    with asyncio.Runner(loop_factory=StillLoop) as runner:
        world = runner.run(play())
    assert parsed == [*BEGIN, last]
    assert world.relay.last_seq == 102
    assert len(world.viewers[0].socket.frames) == 102


def test_nothing_is_left_behind() -> None:
    reads = [*BEGIN, *(chunk(content(text)) for text in STRINGS * 20), chunk(LONG) * 40]
    play: list[Step] = [("read", data) for data in reads]

    def blocks() -> int:
        run(Shape(), play)
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()
    # A reference that is lost once a token would be thousands of blocks by now.
    assert max(blocks() for _ in range(5)) - before < len(play)


def test_a_field_that_is_not_there_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Tally:
        """Whose field is no slot."""

        chunks = 0

    monkeypatch.setitem(native._TYPES, "Tally", Tally)
    assert native.load() is None
    assert "not used, for it does not fit: Tally.chunks is no slot" in caplog.text


def test_a_part_of_another_version_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "_FITS", 0)
    assert native.load() is None
    assert "not used, for it does not fit: it fits 4, this is 0" in caplog.text
