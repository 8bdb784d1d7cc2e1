"""Redis Cluster's slots: which one a hash tag falls into, and who is to own which.

The cluster specification: CRC16 (XMODEM) of what stands between the first braces of a key,
modulo 16384.
"""

from __future__ import annotations

import binascii
from itertools import pairwise

SLOTS = 16_384


def slot_of(tag: str) -> int:
    """The slot of every key that carries `{tag}`."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def equal_ranges(count: int) -> list[range]:
    """All slots in `count` ranges that differ by one slot at most."""
    bounds = [SLOTS * part // count for part in range(count + 1)]
    return [range(first, end) for first, end in pairwise(bounds)]
