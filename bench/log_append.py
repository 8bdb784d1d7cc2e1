"""What keeping the log costs a broker: CPU a token and time to durable, by durability.

    python -m bench.log_append [--tokens-per-second 5000] [--jobs 100] [--seconds 10]

One process, uvloop, jobs at random phases; Redis runs beside it on the same machine. The
CPU is this process's own. `none` is the log in memory behind the same writer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from stream_broker.events import Event, EventEncoder
from stream_broker.ids import Home, new_job_id
from stream_broker.log.base import Append, Outcome
from stream_broker.log.lanes import GATHER_S, LaneWriters
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import OneStore
from stream_broker.log.writer import LogWriter
from stream_broker.tasks import end
from tests.stream_broker.building import KEYS, LIFETIMES, head
from tests.stream_broker.replicated import running_stores
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer


class Job:
    """A relay as the writer sees it, that notes how long each token took."""

    def __init__(self, number: int, late: list[float]) -> None:
        self.job_id = new_job_id(Home(3, 0), 1_800_000_000.0 + number, b"0123456789")
        self.encoder = EventEncoder(self.job_id)
        self.seq = self.done = 0
        self.began: dict[int, float] = {}
        self.late = late

    def next(self) -> list[Event]:
        self.seq += 1
        self.began[self.seq] = time.perf_counter()
        return [self.encoder.text(self.seq, "token", "word ", time.time())]

    def to_append(self, events: list[Event]) -> Append:
        return Append(self.job_id, 1, events, 1.5, None)

    def stored(self, last: int) -> None:
        now = time.perf_counter()
        for seq in range(self.done + 1, last + 1):
            self.late.append(now - self.began.pop(seq))
        self.done = last

    def refused(self, outcome: Outcome) -> None:
        raise AssertionError(outcome)

    def log_away(self, since: float) -> None:
        raise SystemExit(f"the log is away since {since}")


async def measure(log: Any, writer: Any, options: argparse.Namespace) -> None:
    late: list[float] = []
    jobs = [Job(number, late) for number in range(options.jobs)]
    for job in jobs:
        await log.create(head(job.job_id, log.durability))
    running = asyncio.create_task(writer.run())
    gap = options.jobs / options.tokens_per_second
    loop = asyncio.get_running_loop()
    until = loop.time() + options.seconds
    ended = asyncio.Event()

    def tick(job: Job, due: float) -> None:
        if due > until:
            ended.set()
            return
        writer.add(job, job.next())
        loop.call_at(due + gap, tick, job, due + gap)

    for job in jobs:
        due = loop.time() + random.random() * gap
        loop.call_at(due, tick, job, due)
    before, began = os.times(), time.monotonic()
    await ended.wait()
    await writer.drained()
    after, took = os.times(), time.monotonic() - began
    await end([running])
    late.sort()
    tokens = len(late)
    print(
        f"{log.durability:<11} {(after.user - before.user) / tokens * 1e6:6.2f} us/token user, "
        f"{(after.system - before.system) / tokens * 1e6:6.2f} system  "
        f"{tokens / took:7.0f} tokens/s  "
        f"durable after p50 {late[tokens // 2] * 1e3:.2f} p99 {late[tokens * 99 // 100] * 1e3:.2f} "
        f"max {late[-1] * 1e3:.1f} ms  {tokens / max(1, writer.flushes):.1f} tokens/flush",
        flush=True,
    )


@asynccontextmanager
async def redis_log(stores: Any) -> AsyncIterator[RedisLog]:
    log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
    yield log
    log.close()


async def run(options: argparse.Namespace, local: RedisServer, servers: ClusterServers) -> None:
    clock = time.monotonic
    for _ in range(options.rounds):
        memory = MemoryLog(time.time, max_bytes=1 << 30, **LIFETIMES)
        await measure(memory, LogWriter(memory, clock), options)
        store = OneStore(local.address)
        await store.client.flushall()
        async with redis_log(store) as log:
            await measure(log, LaneWriters(log, clock, options.gather), options)
        await store.aclose()
        await asyncio.to_thread(servers.flush)
        async with running_stores(servers.cluster) as stores, redis_log(stores) as log:
            await measure(log, LaneWriters(log, clock, options.gather), options)


def main() -> None:
    """Starts the servers, measures, ends them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens-per-second", type=float, default=5000)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--gather", type=float, default=GATHER_S)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        local = RedisServer(Path(place), appendonly=True)
        servers = ClusterServers(Path(place))
        try:
            local.start()
            servers.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run(options, local, servers))
        finally:
            local.kill()
            servers.stop()


if __name__ == "__main__":
    main()
