"""The hot cache over a real Redis: whatever becomes of it costs speed, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stream_broker.cache.hot import UNWRITTEN_MAX, HotCache
from stream_broker.cache.redis import LINKS_MAX, RedisCache
from stream_broker.metrics import BrokerMetrics
from stream_broker.tasks import end
from tests.support.eventually import eventually_async
from tests.support.redis_server import RedisServer

KEYS = [b"%032d" % n for n in range(200)]


class Rig:
    """One broker's cache; `now` is its clock."""

    def __init__(self, server: RedisServer, password: str = "", timeout: float = 5.0) -> None:
        self.now = 0.0
        self.metrics = BrokerMetrics()
        self.redis = RedisCache(
            server.address, password, ttl=60, timeout=timeout, monotonic=lambda: self.now
        )
        self.cache = self.another()
        self._tasks: list[asyncio.Task[None]] = []

    def another(self) -> HotCache:
        """One with nothing in it yet, over the same Redis."""
        return HotCache(1 << 20, 60, self.redis, self.metrics, lambda: self.now)

    def run(self) -> None:
        self._tasks.append(asyncio.create_task(self.cache.run()))

    async def aclose(self) -> None:
        await end(self._tasks)
        await self.redis.aclose()

    async def shared(self, *keys: bytes) -> dict[bytes, bytes]:
        """What a cache without memory of its own finds."""
        return await self.another().get("embedding", keys)

    async def connected(self) -> None:
        """Returns once lookups are answered."""

        async def answered() -> bool:
            before = self.errors("read")
            await self.shared(b"nothing")
            return self.errors("read") == before

        await eventually_async(answered)

    async def kept(self, key: bytes, value: bytes) -> None:
        """Puts an entry; returns once others find it."""
        self.cache.put("embedding", [(key, value)])

        async def found() -> bool:
            return await self.shared(key) == {key: value}

        await eventually_async(found)

    def errors(self, call: str) -> dict[str, float]:
        """Counts by reason."""
        (metric,) = self.metrics.cache_errors.collect()
        return {
            sample.labels["reason"]: sample.value
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["call"] == call
        }

    def looked_up(self, outcome: str) -> float:
        value: float = self.metrics.cache_lookups.labels("embedding", outcome)._value.get()
        return value


@contextlib.asynccontextmanager
async def rig(server: RedisServer, **members: Any) -> AsyncIterator[Rig]:
    made = Rig(server, **members)
    made.run()
    try:
        yield made
    finally:
        await made.aclose()


async def test_what_one_broker_keeps_another_finds(redis: Any, redis_server: RedisServer) -> None:
    async with rig(redis_server) as one:
        assert await one.cache.get("embedding", [b"a"]) == {}
        await one.connected()
        await one.kept(b"a", b"\x00\xff\r\n")
        other = one.another()
        asked = [b"a", b"b", b"a"]
        before = one.looked_up("hit_shared"), one.looked_up("hit"), one.looked_up("miss")
        assert await other.get("embedding", asked) == {b"a": b"\x00\xff\r\n"}
        assert await other.get("embedding", asked) == {b"a": b"\x00\xff\r\n"}
        after = one.looked_up("hit_shared"), one.looked_up("hit"), one.looked_up("miss")
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 2]


async def test_entries_keep_the_time_of_their_first_writing(
    redis: Any, redis_server: RedisServer
) -> None:
    async with rig(redis_server) as one:
        await one.connected()
        await one.kept(b"a", b"1")
        (key,) = await redis.keys("okome:*")
        assert 0 < await redis.ttl(key) <= 60
        await redis.expire(key, 30)
        one.cache.put("embedding", [(b"a", b"1")])
        await one.kept(b"b", b"2")
        assert await redis.ttl(key) <= 30


async def test_many_keys_are_looked_up_in_pieces(redis: Any, redis_server: RedisServer) -> None:
    async with rig(redis_server) as one:
        await one.connected()
        one.cache.put("embedding", [(key, b"v" + key) for key in KEYS])
        await one.kept(b"last", b"1")
        assert await one.shared(*KEYS) == {key: b"v" + key for key in KEYS}


async def test_lookups_at_once_have_connections_of_their_own(
    redis: Any, redis_server: RedisServer
) -> None:
    async with rig(redis_server) as one:
        await one.connected()
        await one.kept(b"a", b"1")
        await asyncio.gather(*(one.shared(b"a") for _ in range(4 * LINKS_MAX)))

        async def all_found() -> bool:
            found = await asyncio.gather(*(one.shared(b"a") for _ in range(LINKS_MAX)))
            return found == [{b"a": b"1"}] * LINKS_MAX

        await eventually_async(all_found)
        assert int((await redis.info("clients"))["connected_clients"]) <= LINKS_MAX + 2


async def test_a_killed_redis_costs_no_more_than_misses(own_redis: RedisServer) -> None:
    own_redis.start()
    async with rig(own_redis) as one:
        await one.connected()
        await one.kept(b"a", b"1")
        own_redis.kill()
        assert await one.cache.get("embedding", [b"a"]) == {b"a": b"1"}
        one.cache.put("embedding", [(b"b", b"2")])
        assert await one.shared(b"a") == {}
        assert await one.cache.get("embedding", [b"b"]) == {b"b": b"2"}
        own_redis.start()

        async def back() -> bool:
            one.now += 20  # past every pause
            return await one.shared(b"a") == {b"a": b"1"}

        await eventually_async(back, within=10)


async def test_a_hanging_redis_is_left_alone(own_redis: RedisServer) -> None:
    own_redis.start()
    async with rig(own_redis, timeout=0.05) as one:
        await one.connected()
        own_redis.hang()

        async def left_alone() -> bool:
            assert await one.shared(b"a") == {}
            return "left_alone" in one.errors("read")

        await eventually_async(left_alone)
        assert one.errors("read")["no_answer"] >= 3
        calls = one.errors("read")["no_answer"]
        for _ in range(50):
            assert await one.shared(b"a") == {}
        assert one.errors("read")["no_answer"] == calls
        own_redis.go_on()

        async def back() -> bool:
            one.now += 20
            before = one.errors("read")
            await one.shared(b"a")
            return one.errors("read") == before

        await eventually_async(back)


async def test_a_redis_that_may_only_be_read_is_read(own_redis: RedisServer) -> None:
    own_redis.start()
    async with rig(own_redis) as one:
        await one.connected()
        await one.kept(b"a", b"1")
        own_redis.command("REPLICAOF", "127.0.0.1", 1)
        own_redis.command("CONFIG", "SET", "replica-read-only", "yes")
        for number in range(5):
            one.cache.put("embedding", [(b"%d" % number, b"2")])
            await eventually_async(lambda: sum(one.errors("write").values()) > number)  # noqa: B023
        assert one.errors("write")["refused"] >= 3
        assert await one.shared(b"a") == {b"a": b"1"}


async def test_a_full_redis_evicts(own_redis: RedisServer) -> None:
    own_redis.start()
    own_redis.command("CONFIG", "SET", "maxmemory", "2500kb")
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with rig(own_redis) as one:
        await one.connected()
        for first in range(0, 1200, 400):
            one.cache.put(
                "embedding", [(b"%d" % n, bytes(4096)) for n in range(first, first + 400)]
            )
            await one.kept(b"mark%d" % first, b"1")
        assert one.errors("write") == {}
        info: Any = own_redis.command("INFO", "stats")
        assert info["evicted_keys"] > 0


async def test_a_redis_that_refuses_for_want_of_memory_is_counted(own_redis: RedisServer) -> None:
    own_redis.start()
    async with rig(own_redis) as one:
        await one.connected()
        own_redis.command("CONFIG", "SET", "maxmemory", "1")
        one.cache.put("embedding", [(b"a", b"1")])
        await eventually_async(lambda: "refused" in one.errors("write"))
        assert await one.cache.get("embedding", [b"a"]) == {b"a": b"1"}


async def test_a_wrong_password_is_told_once_and_never_shown(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.start()
    own_redis.command("CONFIG", "SET", "requirepass", "right")
    with caplog.at_level(logging.WARNING):
        async with rig(own_redis, password="w-r-o-n-g") as one:

            async def given_up() -> bool:
                assert await one.shared(b"a") == {}
                return bool(caplog.records)

            await eventually_async(given_up)
            for _ in range(20):
                await one.shared(b"a")
                await asyncio.sleep(0)
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 1
    assert "WRONGPASS" in told
    assert "w-r-o-n-g" not in told + repr(vars(one.redis).keys())


async def test_the_right_password_opens(own_redis: RedisServer) -> None:
    own_redis.start()
    own_redis.command("CONFIG", "SET", "requirepass", "right")
    async with rig(own_redis, password="right") as one:
        await one.connected()
        await one.kept(b"a", b"1")


async def test_what_waits_to_be_written_is_bounded(redis_server: RedisServer) -> None:
    one = Rig(redis_server)  # whose writer does not run
    for number in range(6):
        one.cache.put("embedding", [(b"%d" % number, bytes(UNWRITTEN_MAX // 4))])
    assert one.errors("write") == {"full": 2}


async def test_a_program_that_is_no_redis_is_a_miss(tmp_path: Path) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        nobody: Any = RedisServer(tmp_path)
        nobody.port = server.sockets[0].getsockname()[1]
        async with rig(nobody) as one:

            async def refused() -> bool:
                assert await one.shared(b"a") == {}
                return "no_answer" in one.errors("read")

            await eventually_async(refused)
