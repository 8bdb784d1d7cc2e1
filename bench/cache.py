"""What a lookup in the hot cache costs a broker, in its memory and in a Redis on loopback.

python -m bench.cache
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time

import uvloop

from bench.embeddings import percentile
from stream_broker.cache.hot import HotCache
from stream_broker.cache.redis import RedisCache
from stream_broker.metrics import BrokerMetrics

PORT = 16_479
VALUE = 4 + 4 * 1024
ROUNDS = 2000
# What a broker waits for (`cache_timeout`).
BUDGET_MS = 2.0


async def looked_up(cache: HotCache, keys: list[bytes]) -> float:
    """Milliseconds of one lookup, which finds all of them."""
    begun = time.perf_counter()
    found = await cache.get("embedding", keys)
    taken = (time.perf_counter() - begun) * 1000
    return taken if len(found) == len(keys) else float("inf")


async def measure() -> None:
    """Prints a row for each: items, place, p50, p99, how many were over BUDGET_MS."""
    shared = RedisCache(("127.0.0.1", PORT), "", ttl=60, timeout=1.0, monotonic=time.monotonic)

    def fresh() -> HotCache:
        return HotCache(64 << 20, 60, shared, BrokerMetrics())

    first = fresh()
    writing = asyncio.create_task(first.run())
    for number in (1, 32):
        keys = [os.urandom(32) for _ in range(number)]
        first.put("embedding", [(key, os.urandom(VALUE)) for key in keys])
        for _ in range(100):
            if await looked_up(fresh(), keys) != float("inf"):
                break
            await asyncio.sleep(0.05)
        for name, caches in (
            ("the broker's memory", [first] * ROUNDS),
            ("the cache's Redis", [fresh() for _ in range(ROUNDS)]),
        ):
            times = [await looked_up(cache, keys) for cache in caches]
            figures = [f"{percentile(times, part):.3f}" for part in (0.5, 0.99)]
            late = sum(taken > BUDGET_MS for taken in times)
            print(f"| {number} | {name} | {figures[0]} | {figures[1]} | {late} |", flush=True)
    writing.cancel()
    await shared.aclose()


def main() -> None:
    """With a Redis of its own."""
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(PORT), "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(1)
            uvloop.run(measure())
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
