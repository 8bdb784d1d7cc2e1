from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from inventory.slots import SLOTS, equal_ranges, slot_of


@given(st.text(min_size=1).filter(lambda tag: "{" not in tag and "}" not in tag))
def test_a_tag_falls_into_the_slot_of_its_keys(tag: str) -> None:
    assert slot_of(tag) == key_slot(f"okome:{{{tag}}}:job:x".encode())


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_equal_ranges_hold_every_slot_once(count: int) -> None:
    ranges = equal_ranges(count)
    assert [slot for part in ranges for slot in part] == list(range(SLOTS))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
