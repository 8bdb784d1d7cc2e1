"""The cache in a process's memory: bounded in bytes and in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_broker.cache.lru import OVERHEAD, Lru


def test_the_least_recently_used_goes_first() -> None:
    lru = Lru(3 * (OVERHEAD + 2), 60)
    for key in (b"a", b"b", b"c"):
        lru.put(key, b"1", 0)
    assert lru.get(b"a", 1) == b"1"
    lru.put(b"d", b"1", 1)
    assert [lru.get(key, 1) for key in (b"a", b"b", b"c", b"d")] == [b"1", None, b"1", b"1"]


def test_an_entry_lives_from_its_first_writing() -> None:
    lru = Lru(1000, 10)
    lru.put(b"a", b"1", 0)
    lru.put(b"a", b"1", 9)
    assert lru.get(b"a", 9.9) == b"1"
    assert lru.get(b"a", 10) is None
    assert (len(lru), lru.bytes) == (0, 0)


def test_what_does_not_fit_is_not_kept() -> None:
    lru = Lru(OVERHEAD + 5, 10)
    lru.put(b"a", b"12345", 0)
    assert len(lru) == 0
    Lru(0, 10).put(b"a", b"", 0)


KEYS = st.binary(min_size=1, max_size=1)


@given(puts=st.lists(st.tuples(KEYS, st.integers(0, 300), st.integers(0, 20))))
def test_it_never_holds_more_than_it_may(puts: list[tuple[bytes, int, int]]) -> None:
    lru = Lru(1000, 10)
    now = 0
    for key, size, later in puts:
        now += later
        lru.put(key, b"x" * size, now)
        held = [value for n in range(256) if (value := lru._entries.get(bytes([n])))]
        assert lru.bytes == sum(1 + len(value) + OVERHEAD for value, _ in held) <= 1000
