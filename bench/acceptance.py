"""How long a person waits for a job to be accepted while the control plane is busy.

    python -m bench.acceptance [--rate 500] [--jobs 20] [--seconds 20]

The one-machine cluster, whole: jobs go through its ingress to its brokers, and each is looked
up at once by its id. Beside them grants are asked for and settled past the brokers at `--rate`,
as `bench.grants` does. Everything shares this machine, the load too; latency is from the
moment at which a job was due.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

import httpx
import uvloop

from bench.grants import Counts, Target, load, told
from tests.support.cluster import Cluster
from tests.support.synthetic_engine import MODEL, SyntheticEngine


class Asking:
    """Jobs through the ingress; times in seconds."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient) -> None:
        self.accepted: list[float] = []
        self.looked_up: list[float] = []
        self.refused: list[str] = []
        self._url = cluster.url
        self._http = http

    async def job(self, due: float) -> None:
        """One job, and a look at it."""
        body = {"model": MODEL, "prompt": "Count.", "max_tokens": 20}
        answer = await self._http.post(f"{self._url}/v1/jobs", json=body)
        if answer.status_code != 202:
            self.refused.append(answer.text)
            return
        self.accepted.append(time.perf_counter() - due)
        began = time.perf_counter()
        found = await self._http.get(f"{self._url}/v1/jobs/{answer.json()['job_id']}")
        assert found.status_code == 200, found.text
        self.looked_up.append(time.perf_counter() - began)

    async def at(self, rate: float, seconds: float) -> None:
        """So many a second, at random moments."""
        began = due = time.perf_counter()
        async with asyncio.TaskGroup() as jobs:
            while (due := due + random.expovariate(rate)) < began + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                jobs.create_task(self.job(due))


async def measure(cluster: Cluster, options: argparse.Namespace) -> None:
    service_key = (cluster.state_dir / "credentials" / "service_key").read_text(encoding="ascii")
    target = Target(f"http://{cluster.net}25:8000", [cluster.api_key], service_key, MODEL)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        await Asking(cluster, http).at(options.jobs, 2.0)
        for rate in (0.0, options.rate):
            asking, counts = Asking(cluster, http), Counts()
            options.rate = rate
            jobs = asyncio.create_task(asking.at(options.jobs, options.seconds))
            if rate:
                counts = await load(target, options)
            await jobs
            print(f"beside {rate:.0f} grants/s, {options.jobs:.0f} jobs/s, load", end=" ")
            print(f"{os.getloadavg()[0]:.1f}: {len(asking.refused)} refused")
            for what in ("accepted", "looked_up"):
                print("   ", told(what, getattr(asking, what)))
            print(
                "   ", told("granted", counts.granted), f"{len(counts.failed)} failed", flush=True
            )


def main() -> None:
    """Measures without and with the grants beside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--jobs", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--job-seconds", type=float, default=5)
    parser.add_argument("--brokers", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="okome-acceptance-") as place:
        cluster = Cluster(Path(place), f"127.91.{os.getpid() % 250}.")
        with SyntheticEngine(20.0) as engine:
            try:
                cluster.up(
                    *("--engine", engine.url, "--kind", "vllm", "--model", MODEL),
                    *("--set", "streams_per_user=100000"),
                )
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(measure(cluster, options))
            finally:
                cluster.down()


if __name__ == "__main__":
    main()
