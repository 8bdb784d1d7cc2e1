"""What a grant costs the control plane and how long a broker waits for it, by database.

    python -m bench.grants [--rate 500] [--seconds 20] [--job-seconds 5] [--brokers 8]

The real process on one core, behind the brokers' own client over kept connections. Grants
come at random moments at the rate that is asked for, whatever became of the ones before; each
is settled when its job ends. The first two seconds of a process that has just started do not
count. Beside them brokers renew leases and ask for the policy as they
do in earnest. Latency is from the moment at which the grant was due. CPU is of the control
plane alone; the database server and this process share the other core. Before it, what the
machine is worth just now: a commit that waits for the disk, by the plain driver, and a
million turns of an empty loop.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import psycopg
import uvloop
from sqlalchemy import Connection, insert

from bench.processes import HARNESS_CORE, PROXY_CORE
from bench.stats import percentile
from bench.usage import cpu_seconds
from contracts.grants import BATCH_MAX, Grant, GrantQuestion, GrantRequest, Settlement, Usage
from contracts.problems import ProblemError
from control_plane.auth import new_api_key
from control_plane.store.database import Database
from control_plane.store.keys import add_key
from control_plane.store.schema import users
from control_plane.store.users import LOCAL_TIER
from observability.collector import set_collector
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.settlements import GATHER_S
from tests.control_plane.harness import SERVICE_KEY
from tests.support.control_process import MODEL, ControlProcess, HealthyEngine
from tests.support.postgres_server import PostgresServer

# A process that has just started compiles its statements and reads everybody's limits; what
# that costs is not a grant's.
WARM_UP_S = 2.0
POLICY_EVERY_S = 2.0
RENEW_EVERY_S = 10.0
LIMITS = {"streams": 100_000, "tokens_month": 10**15, "requests_day": 10**9}


class Counts(msgspec.Struct):
    """What came of it; times in seconds, of what was due at `since` or later."""

    since: float = 0.0
    granted: list[float] = []
    settled: list[float] = []
    renewed: list[float] = []
    failed: list[str] = []


class Target(msgspec.Struct, frozen=True):
    """Which control plane, and what is asked of it with which keys."""

    url: str
    keys: list[str]
    service_key: str = SERVICE_KEY
    model: str = MODEL


class Broker:
    """One broker's calls."""

    def __init__(self, target: Target, counts: Counts) -> None:
        self.client = ControlClient(target.url, target.service_key, 5.0)
        self.model = target.model
        self.counts = counts
        self.leases: set[str] = set()
        self.ended: list[tuple[float, Settlement]] = []
        self.wake = asyncio.Event()

    async def job(self, due: float, credential: str, seconds: float) -> None:
        """A grant, `seconds` of a job, and its end."""
        question = GrantQuestion(
            model=self.model, kind="job", prompt_tokens_estimate=200, max_tokens=512
        )
        request = GrantRequest(credential=credential, request=question, node="n03w0")
        try:
            grant = await self.client.grant(request)
        except (ProblemError, ControlUnavailable) as error:
            self.counts.failed.append(str(error))
            return
        if due >= self.counts.since:
            self.counts.granted.append(time.perf_counter() - due)
        self.leases.add(grant.lease.id)
        await asyncio.sleep(seconds)
        self.leases.discard(grant.lease.id)
        self.ended.append((time.perf_counter(), settlement_of(grant, self.model)))
        self.wake.set()

    async def settle(self) -> None:
        """As the spool does: what ends during one call, and for a moment after it, goes
        together in the next. Until it is cancelled."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.ended:
                batch, self.ended = self.ended[:BATCH_MAX], self.ended[BATCH_MAX:]
                try:
                    refused = await self.client.settle([settlement for _, settlement in batch])
                except ControlUnavailable:
                    self.ended = batch + self.ended
                    continue
                self.counts.failed += refused.values()
                now = time.perf_counter()
                self.counts.settled += [now - since for since, _ in batch]
                await asyncio.sleep(GATHER_S)

    async def ask_for_policy(self) -> None:
        """Until it is cancelled."""
        etag: str | None = None
        while True:
            with suppress(ControlUnavailable):
                found = await self.client.policy(etag)
                etag = found[1] if found else etag
            await asyncio.sleep(POLICY_EVERY_S)

    async def renew(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(random.random() * 2 * RENEW_EVERY_S)
            began = time.perf_counter()
            with suppress(ControlUnavailable):
                await self.client.renew(list(self.leases))
            self.counts.renewed.append(time.perf_counter() - began)


def settlement_of(grant: Grant, model: str) -> Settlement:
    now = time.time()
    return Settlement(
        job_id=f"n03w0-{grant.grant_id}",
        grant_id=grant.grant_id,
        lease_id=grant.lease.id,
        user_id=grant.user_id,
        model=model,
        engine="vllm",
        node="n03w0",
        outcome="completed",
        code="stop",
        usage=Usage(prompt_tokens=180, completion_tokens=300),
        created_at=now - 5,
        first_token_at=now - 4.9,
        ended_at=now,
    )


async def prepare(control: ControlProcess, number: int) -> list[str]:
    """Users with a key each; the keys."""
    now = time.time()
    await control.allow(now, **LIMITS)
    keys = [new_api_key() for _ in range(number)]

    def add(connection: Connection) -> None:
        for place, key in enumerate(keys):
            row = {"id": f"u{place}", "name": f"u{place}", "tier": LOCAL_TIER, "created_at": now}
            connection.execute(insert(users).values(row))
            add_key(
                connection, f"u{place}", key, name="", scopes=["generate"], expires_at=None, now=now
            )

    database = Database(control.database, timeout_s=30.0)
    await database.open(now)
    await database.run(add, durable=True)
    await database.close()
    return keys


async def load(target: Target, options: argparse.Namespace) -> Counts:
    """Grants at `rate` for `seconds`, and their ends."""
    began = due = time.perf_counter()
    counts = Counts(since=began + WARM_UP_S)
    brokers = [Broker(target, counts) for _ in range(options.brokers)]
    work = (Broker.ask_for_policy, Broker.renew, Broker.settle)
    beside = [asyncio.create_task(run(broker)) for broker in brokers for run in work]
    jobs: set[asyncio.Task[None]] = set()
    number = 0
    while (due := due + random.expovariate(options.rate)) < counts.since + options.seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        seconds = random.expovariate(1 / options.job_seconds)
        job = random.choice(brokers).job(due, random.choice(target.keys), seconds)
        task = asyncio.create_task(job)
        jobs.add(task)
        number += 1
        task.add_done_callback(jobs.discard)
    await asyncio.gather(*jobs)
    while len(counts.settled) + len(counts.failed) < number:
        for task in beside:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    for broker in brokers:
        await broker.client.aclose()
    return counts


def told(name: str, times: list[float]) -> str:
    ordered = sorted(times) or [0.0]
    shares = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
    found = " ".join(f"{label} {percentile(ordered, share) * 1e3:.2f}" for label, share in shares)
    return f"{name} {len(times)}: {found} ms"


async def measure(
    name: str, control: ControlProcess, options: argparse.Namespace, server: int | None
) -> None:
    keys = await prepare(control, options.users)
    control.start(before=("taskset", "--cpu-list", str(PROXY_CORE)))
    roots = {"control": control.pid} | ({"database": server} if server else {})
    before = cpu_seconds(roots)
    counts = await load(Target(control.url, keys), options)
    after = cpu_seconds(roots)
    grants, ended = len(counts.granted), max(1, len(counts.settled))
    cpu = {root: (after[root] - before[root]) / ended for root in roots}
    print(f"{name}: {grants / options.seconds:.0f} grants/s, {len(counts.failed)} failed")
    for what in ("granted", "settled", "renewed"):
        print("   ", told(what, getattr(counts, what)))
    for root, seconds in cpu.items():
        share = f"{seconds * options.rate * 100:.0f} % of a core at this rate"
        print(f"    CPU {root}: {seconds * 1e6:.0f} us a grant and its end, {share}")
    for reason in sorted(set(counts.failed))[:5]:
        print("    failed:", reason)
    print(flush=True)


def calibrate(server: PostgresServer) -> None:
    """What the machine does just now without us."""
    url = server.fresh().set(drivername="postgresql").render_as_string(False)
    waits: list[float] = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
        for number in range(200):
            began = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (%s)", (number,))
            waits.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(1_000_000):
        pass
    print("machine:", told("commits", waits), end=", ")
    print(f"loop {(time.perf_counter() - began) * 1e3:.0f} ms, load {os.getloadavg()[0]:.1f}\n")


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server that waits for its disk as in earnest."""
    server = PostgresServer(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def run(name: str, options: argparse.Namespace, server: PostgresServer | None) -> None:
    """One control plane over one database."""
    engine = HealthyEngine()
    with tempfile.TemporaryDirectory() as place:
        control = ControlProcess(Path(place), engine.port, server.fresh() if server else None)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(name, control, options, server.pid if server else None))
        finally:
            control.kill()
            engine.close()


def main() -> None:
    """Measures over both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--job-seconds", type=float, default=5)
    parser.add_argument("--brokers", type=int, default=8)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    options = parser.parse_args()
    os.sched_setaffinity(0, {HARNESS_CORE})
    # What this process waits for itself is not the control plane's.
    set_collector()
    rounds = [partial(run, "sqlite", options, None)] if options.database != "postgresql" else []
    with postgres() as server:
        if options.database != "sqlite":
            rounds.append(partial(run, "postgresql", options, server))
        for _ in range(options.rounds):
            calibrate(server)
            for one in rounds:
                one()


if __name__ == "__main__":
    main()
