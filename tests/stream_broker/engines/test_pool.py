"""Which idle connection is used next, and which are given up."""

from __future__ import annotations

from stream_broker.engines.pool import IdlePool


def test_the_freshest_of_a_key_is_taken_first() -> None:
    pool: IdlePool[str] = IdlePool(size=10, expiry=4.0)
    for now, (key, item) in enumerate([("x", "a"), ("x", "b"), ("y", "c")]):
        assert pool.put(key, item, float(now)) == []
    assert [pool.take("x", 2.0) for _ in range(3)] == ["b", "a", None]
    assert pool.take("y", 2.0) == "c"
    assert len(pool) == 0


def test_what_was_idle_too_long_is_not_taken_and_is_given_up() -> None:
    pool: IdlePool[str] = IdlePool(size=10, expiry=4.0)
    pool.put("x", "a", 0.0)
    pool.put("x", "b", 3.0)
    assert pool.expire(4.0) == ["a"]
    assert pool.take("x", 7.0) is None
    assert pool.expire(7.0) == ["b"]


def test_the_oldest_goes_when_there_are_too_many() -> None:
    pool: IdlePool[str] = IdlePool(size=2, expiry=4.0)
    assert [pool.put("x", item, 0.0) for item in "abc"] == [[], [], ["a"]]


def test_what_is_gone_is_forgotten() -> None:
    pool: IdlePool[str] = IdlePool(size=2, expiry=4.0)
    pool.put("x", "a", 0.0)
    pool.put("x", "b", 0.0)
    pool.discard("a")
    pool.discard("a")
    assert pool.clear() == ["b"]
    assert pool.clear() == []
