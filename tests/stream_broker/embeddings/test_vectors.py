"""Vectors: no bit is lost on their way from an engine through a cache to a client."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.embeddings.vectors import Vector, encoded, floats_of, shares, unpack

FLOATS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9)


@given(numbers=FLOATS, tokens=st.integers(0, 1 << 20))
def test_every_form_says_the_same(numbers: list[float], tokens: int) -> None:
    packed = struct.pack(f"<{len(numbers)}f", *numbers)
    assert floats_of(numbers) == packed
    assert floats_of(base64.b64encode(packed).decode()) == packed
    vector = Vector(packed, tokens)
    assert unpack(vector.pack()) == vector
    assert vector.dimensions == len(numbers)
    entry = json.loads(encoded(3, vector, "float"))
    assert entry == {"object": "embedding", "index": 3, "embedding": numbers}
    sent = json.loads(encoded(0, vector, "base64"))["embedding"]
    assert base64.b64decode(sent) == packed


@pytest.mark.parametrize(
    "told",
    [None, [], "", "####", "AAA=", base64.b64encode(b"12345").decode(), ["a"], [[1.0]], {},
     [float("nan")], [1.0, float("inf")], [1e39], [10**400], 7,
     base64.b64encode(struct.pack("<f", float("nan"))).decode()],
)  # fmt: skip
def test_what_is_no_vector_is_none(told: Any) -> None:
    assert floats_of(told) is None


@pytest.mark.parametrize("kept", [b"", b"1234", b"123456", b"123456789"])
def test_what_a_cache_has_spoiled_is_not_there(kept: bytes) -> None:
    assert unpack(kept) is None


@given(total=st.integers(0, 1 << 31), sizes=st.lists(st.integers(1, 9999), min_size=1, max_size=40))
def test_tokens_are_shared_out_to_the_last(total: int, sizes: list[int]) -> None:
    parts = shares(total, sizes)
    assert sum(parts) == total
    assert all(
        abs(part - total * size / sum(sizes)) <= 1 for part, size in zip(parts, sizes, strict=True)
    )
