"""Vectors as they are kept and sent: float32 in little-endian order, and what they cost.
Pure.

That is what the OpenAI API's `base64` is made of, and a fifth of the same as JSON.
"""

from __future__ import annotations

import base64
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stream_broker.embeddings.request import Encoding

FLOAT: Final = 4
_COUNT: Final = struct.Struct("<I")


class Vector(NamedTuple):
    """The embedding of one item: float32s, and the tokens of the item."""

    floats: bytes
    tokens: int

    @property
    def dimensions(self) -> int:
        """How many numbers it has."""
        return len(self.floats) // FLOAT

    def pack(self) -> bytes:
        """The form in which a cache keeps it."""
        return _COUNT.pack(min(self.tokens, (1 << 32) - 1)) + self.floats


def unpack(kept: bytes) -> Vector | None:
    """What `pack` made; None for anything else."""
    size = len(kept) - _COUNT.size
    if size < FLOAT or size % FLOAT:
        return None
    return Vector(kept[_COUNT.size :], _COUNT.unpack_from(kept)[0])


def floats_of(told: Any) -> bytes | None:
    """An engine's vector, a list of numbers or base64; None where that is no vector of finite
    numbers."""
    numbers = array("f")
    try:
        if isinstance(told, str):
            numbers.frombytes(base64.b64decode(told, validate=True))
        else:
            numbers = _ordered(array("f", told))
    except (TypeError, ValueError, OverflowError):
        return None
    # One number that is not finite makes the sum so.
    return numbers.tobytes() if numbers and math.isfinite(sum(_ordered(numbers))) else None


def encoded(index: int, vector: Vector, encoding: Encoding) -> bytes:
    """The entry of one item in the answer."""
    if encoding == "base64":
        embedding = b'"%b"' % base64.b64encode(vector.floats)
    else:
        numbers = array("f")
        numbers.frombytes(vector.floats)
        embedding = msgspec.json.encode(_ordered(numbers).tolist())
    return b'{"object":"embedding","index":%d,"embedding":%b}' % (index, embedding)


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """`total` tokens shared out by the sizes of the items, which an engine counts together.

    The sum is exact, and no share is off by a whole token.
    """
    whole, given, passed = sum(sizes) or 1, 0, 0
    parts = []
    for size in sizes:
        passed += size
        until = total * passed // whole
        parts.append(until - given)
        given = until
    return parts


def _ordered(numbers: array[float]) -> array[float]:
    """From this machine's byte order to the kept one, or back."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
