"""Cutting at a separator, at the limit, and in the face of any split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.engines.blocks import BlockCutter
from tests.stream_broker.engines.wires import cut, relaxed

data = st.text(alphabet="ab\n", max_size=60).map(str.encode)


@relaxed
@given(data, st.lists(st.integers(0, 100)), st.sampled_from([b"\n", b"\n\n"]), st.integers(1, 9))
def test_any_split_cuts_the_same(
    data: bytes, places: list[int], separator: bytes, limit: int
) -> None:
    expected = data.split(separator)[:-1]
    long = [index for index, block in enumerate(expected) if len(block) > limit]
    cutter = BlockCutter(separator, limit)
    found = [block for piece in cut(data, places) for block in cutter.cut(piece)]
    assert found == (expected[: long[0]] if long else expected)
    assert cutter.too_long >= bool(long)


@pytest.mark.parametrize("separator", [b"\n", b"\n\n"])
def test_the_limit_is_met_exactly(separator: bytes) -> None:
    for length, too_long in ((8, False), (9, True)):
        for step in (1, 100):
            cutter = BlockCutter(separator, 8)
            whole = b"x" * length + separator
            blocks = [b for piece in cut(whole, range(0, 11, step)) for b in cutter.cut(piece)]
            assert (blocks == []) == too_long == cutter.too_long
