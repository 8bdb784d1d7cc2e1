"""Events and their data, by the letter of WHATWG HTML 9.2.6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.engines.sse import EventCutter, data_of
from tests.stream_broker.engines.wires import cut, relaxed

LINES = ["data: a", "data:b", "data", "data:  c", ": comment", "event: x", "id: 1", "datax: d", ""]


def reference(stream: str) -> list[str]:
    """The standard's algorithm, line by line, over a whole stream."""
    text = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, data = [], ""
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                events.append(data.removesuffix("\n"))
            data = ""
        name, _, value = line.partition(":")
        if name == "data":
            data += value.removeprefix(" ") + "\n"
    return [event for event in events if event]


@relaxed
@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\r"])), max_size=20),
    st.lists(st.integers(0, 200)),
    st.booleans(),
)
def test_any_stream_in_any_pieces_is_read_as_the_standard_says(
    lines: list[tuple[str, str]], places: list[int], bom: bool
) -> None:
    stream = ("\ufeff" if bom else "") + "".join(line + end for line, end in lines)
    cutter = EventCutter(1 << 20)
    blocks = [b for piece in cut(stream.encode(), places) for b in cutter.feed(piece)]
    assert [data for b in blocks if (data := data_of(b).decode())] == reference(stream)


def test_of_what_has_been_cut_nothing_is_kept() -> None:
    cutter = EventCutter(1000)
    assert cutter.feed(b"data: 1\n\n") == [b"data: 1"]
    assert (cutter._head, cutter._rest) == (b"", b"")


def test_what_has_not_ended_is_not_told() -> None:
    assert EventCutter(100).feed(b"data: a\n") == []


def test_a_beginning_that_is_no_mark_is_kept() -> None:
    cutter = EventCutter(100)
    assert cutter.feed(b"\xef") == []
    assert cutter.feed(b"x\n\n") == [b"\xefx"]


@pytest.mark.parametrize("step", [1, 1000])
def test_an_event_too_long_ends_the_cutting(step: int) -> None:
    cutter = EventCutter(10)
    stream = b"data: a\n\n" + b"data: " + b"x" * 20 + b"\n\ndata: b\n\n"
    found = [b for piece in cut(stream, range(0, len(stream), step)) for b in cutter.feed(piece)]
    assert found == [b"data: a"]
    assert cutter.too_long
