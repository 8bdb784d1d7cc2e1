"""Is a primary ever replaced that was only slow? The log's cluster under full load.

    python -m bench.log_steady [--seconds 600] [--burners 2]

Twelve Redis, one writer of four homes, and busy processes that want all cores. Prints every
change of a primary, what Redis's own logs say of failures, and how late tokens were durable.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.log_append import Job, redis_log
from stream_broker.events import EventEncoder
from stream_broker.ids import Home, new_job_id
from stream_broker.log.base import LogUnavailable
from stream_broker.log.lanes import LaneWriters
from stream_broker.log.redis import RedisLog
from stream_broker.tasks import end
from tests.stream_broker.building import head
from tests.stream_broker.replicated import running_stores
from tests.support.redis_cluster import ClusterServers

JOBS = 25
TOKENS = 5000
EVERY_S = 0.02


class Patient(Job):
    """One that waits while the log is away, and counts how often that was said."""

    away = 0

    def log_away(self, since: float) -> None:
        Patient.away += since > 0


def job_of(home: int, number: int, late: list[float]) -> Patient:
    job = Patient(number, late)
    job.job_id = new_job_id(Home(home, 0), 1_800_000_000.0 + number, b"0123456789")
    job.encoder = EventEncoder(job.job_id)
    return job


async def begun(log: RedisLog, job: Patient) -> None:
    while True:
        try:
            await log.create(head(job.job_id, "replicated"))
        except LogUnavailable as error:
            print(f"{time.strftime('%H:%M:%S')} a record was not made: {error}", flush=True)
        else:
            return


async def stream(servers: ClusterServers, seconds: float) -> None:
    late: list[float] = []
    async with running_stores(servers.cluster) as stores, redis_log(stores) as log:
        writers = LaneWriters(log, time.monotonic)
        running = asyncio.create_task(writers.run())
        until = time.monotonic() + seconds
        generation = 0
        while time.monotonic() < until:
            jobs = [
                job_of(home, generation + number, late)
                for home in (3, 4, 5, 6)
                for number in range(JOBS)
            ]
            generation += JOBS
            for job in jobs:
                await begun(log, job)
            for _ in range(TOKENS // JOBS):
                for job in jobs:
                    writers.add(job, job.next())
                await asyncio.sleep(EVERY_S)
            await writers.drained()
            # Not to fill the memory of twelve processes.
            await asyncio.to_thread(servers.flush)
        await end([running])
    late.sort()
    count = len(late)
    print(
        f"{count} tokens durable after p50 {late[count // 2] * 1e3:.1f} "
        f"p99 {late[count * 99 // 100] * 1e3:.1f} max {late[-1] * 1e3:.0f} ms; "
        f"flushes {writers.flushes}, of which failed {writers.failures}"
    )


def main() -> None:
    """Runs it, and says what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--burners", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        servers = ClusterServers(Path(place))
        burners = []
        try:
            servers.start()
            burners = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in range(options.burners)
            ]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(stream(servers, options.seconds))
            moved = [
                node
                for node in {store.home for store in servers.stores.values()}
                if servers.primary(node) != servers.home(node)
            ]
            failures = [
                line
                for log in sorted(Path(place).glob("127*/log"))
                for line in log.read_text(encoding="utf-8").splitlines()
                if "FAIL" in line or "ailover" in line
            ]
            print(f"homes elsewhere: {moved or 'none'}; failures in Redis's logs: {len(failures)}")
            print("\n".join(failures[:20]))
        finally:
            for burner in burners:
                burner.kill()
            servers.stop()


if __name__ == "__main__":
    main()
