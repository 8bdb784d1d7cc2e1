"""A day of use within minutes, with kill -9 of the control plane, against the usage log.

    python -m tests.torture.day [--jobs 5000] [--seconds 90] [--kills 8] [--database postgresql]

The real control plane runs by a clock that passes a day in `--seconds`. Brokers' own clients
ask for grants and settle jobs that complete, are cancelled, fail, move to another engine,
lose their engine, are settled twice or hours late, ran without a grant while nobody
answered, or are lost with their broker. What each engine generated is known here, what the
broker could know of it is settled. In the end the log is compared job by job.

Exit status: 0 every job that one engine ended with a final count is in the log once and to
the token, and every other within the tokens that were in flight; 1 not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from sqlalchemy import Connection, insert

from contracts.grants import Grant, GrantQuestion, GrantRequest, Outcome, Settlement, Usage
from contracts.problems import ProblemError
from control_plane.auth import new_api_key
from control_plane.store.database import Database
from control_plane.store.keys import add_key
from control_plane.store.schema import users
from control_plane.store.users import LOCAL_TIER
from stream_broker.control import ControlClient, ControlUnavailable
from tests.control_plane.harness import SERVICE_KEY
from tests.support.control_process import MODEL, ControlProcess, HealthyEngine
from tests.support.moved_clock import MovedClock
from tests.support.postgres_server import PostgresServer

Way = Literal["completed", "cancelled", "failed", "moved", "engine lost", "twice", "late", "lost"]

DAY_S: Final = 86_400.0
# In the middle of a month: what is settled after midnight stays in it.
ORIGIN: Final = 1_794_700_800.0
IN_FLIGHT: Final = 64
_SHARES: Final[dict[Way, int]] = {
    "completed": 52, "cancelled": 12, "failed": 8, "moved": 8, "engine lost": 6, "twice": 7,
    "late": 5, "lost": 2,
}  # fmt: skip
_OUTCOMES: Final[dict[Way, Outcome]] = {"cancelled": "cancelled", "failed": "failed"}
_COUNTED_BY_THE_BROKER: Final = ("moved", "engine lost")


@dataclass
class Job:
    """One of the day. `generated`: what engines made for it, `told`: what is settled of it."""

    job_id: str
    user: int
    way: Way
    prompt: int
    generated: int
    told: int
    alone: bool = False

    @property
    def exact(self) -> bool:
        """Has one engine ended it with a final count?"""
        return self.way not in (*_COUNTED_BY_THE_BROKER, "lost")


@dataclass(frozen=True)
class Options:
    """`seconds` for the day; `kills` of the control plane in it."""

    jobs: int
    seconds: float
    kills: int
    users: int = 20
    seed: int = 1


class Day:
    """One day over one control plane."""

    def __init__(self, control: ControlProcess, options: Options) -> None:
        self.jobs: list[Job] = []
        self.refused: Counter[str] = Counter()
        self._control = control
        self._options = options
        self._random = random.Random(options.seed)
        self._keys = [new_api_key() for _ in range(options.users)]
        self._speed = DAY_S / options.seconds
        self._clock = MovedClock(0.0, ORIGIN, self._speed)

    async def run(self) -> list[str]:
        """Lives it. Returns what is wrong."""
        await self._prepare()
        self._clock = MovedClock(time.time(), ORIGIN, self._speed)
        self._start()
        brokers = [ControlClient(self._control.url, SERVICE_KEY, 5.0) for _ in range(4)]
        killer = asyncio.create_task(self._kill())
        pause = self._options.seconds / self._options.jobs
        work = []
        for _ in range(self._options.jobs):
            await asyncio.sleep(self._random.expovariate(1 / pause))
            work.append(asyncio.create_task(self._one(self._random.sample(brokers, 2))))
        await asyncio.gather(*work)
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
        for broker in brokers:
            await broker.aclose()
        return await self._compare()

    def _start(self) -> None:
        self._control.start("lease_ttl=600", before=self._clock.before())

    async def _prepare(self) -> None:
        await self._control.allow(ORIGIN, streams=100_000, tokens_month=10**12)

        def add(connection: Connection) -> None:
            for number, key in enumerate(self._keys):
                name = f"u{number}"
                row = {"id": name, "name": name, "tier": LOCAL_TIER, "created_at": ORIGIN}
                connection.execute(insert(users).values(row))
                add_key(
                    connection, name, key, name="", scopes=["generate"], expires_at=None, now=ORIGIN
                )

        database = Database(self._control.database, timeout_s=30.0)
        await database.open(ORIGIN)
        await database.run(add, durable=True)
        await database.close()

    async def _kill(self) -> None:
        for _ in range(self._options.kills):
            whole = self._options.seconds / self._options.kills
            await asyncio.sleep(whole * self._random.uniform(0.2, 0.9))
            self._control.kill()
            await asyncio.to_thread(self._start)

    async def _one(self, brokers: Sequence[ControlClient]) -> None:
        dice = self._random
        user = dice.randrange(self._options.users)
        (way,) = dice.choices(list(_SHARES), list(_SHARES.values()))
        prompt, generated = dice.randint(5, 2000), dice.randint(0, 800)
        began = self._now()
        grant = await self._granted(brokers[0], user, prompt)
        flight = dice.randint(0, IN_FLIGHT) if way in _COUNTED_BY_THE_BROKER else 0
        told = max(0, generated - flight)
        job_id = f"n03w0-{secrets.token_hex(13)}"
        job = Job(job_id, user, way, prompt, generated, told, alone=grant is None)
        self.jobs.append(job)
        await asyncio.sleep(dice.uniform(5, 300) / self._speed)
        if way == "lost":
            return
        settlement = self._settlement(job, grant, began)
        if way == "late":
            await asyncio.sleep(dice.uniform(1, 8) * 3600 / self._speed)
        times = 2 if way == "twice" else 1
        await asyncio.gather(*(_settled(broker, settlement) for broker in brokers[:times]))

    async def _granted(self, broker: ControlClient, user: int, prompt: int) -> Grant | None:
        """None: nobody answered, and the broker decided alone."""
        question = GrantQuestion(
            model=MODEL, kind="job", prompt_tokens_estimate=prompt, max_tokens=800
        )
        request = GrantRequest(credential=self._keys[user], request=question, node="n03w0")
        try:
            return await broker.grant(request)
        except ControlUnavailable:
            return None

    def _settlement(self, job: Job, grant: Grant | None, began: float) -> Settlement:
        alone = f"alone-{job.job_id}"
        return Settlement(
            job_id=job.job_id,
            grant_id=grant.grant_id if grant else alone,
            lease_id=grant.lease.id if grant else alone,
            user_id=f"u{job.user}",
            model=MODEL,
            engine="vllm",
            node="n03w0",
            outcome=_OUTCOMES.get(job.way, "completed"),
            code="stop",
            usage=Usage(
                prompt_tokens=job.prompt, completion_tokens=job.told, estimated=not job.exact
            ),
            created_at=began,
            first_token_at=began + 0.5,
            ended_at=self._now(),
        )

    def _now(self) -> float:
        return self._clock.at(time.time())

    async def _compare(self) -> list[str]:
        """By a control plane that is killed once more, and wakes up when all that was set
        aside has run out."""
        self._control.kill()
        awake = MovedClock(time.time(), self._now() + DAY_S, 1.0)
        self._control.start("lease_ttl=600", before=awake.before())
        found: list[str] = []
        async with httpx.AsyncClient(base_url=self._control.url, trust_env=False) as client:
            for user, key in enumerate(self._keys):
                headers = {"Authorization": f"Bearer {key}"}
                month = (await client.get("/v1/usage?month=2026-11", headers=headers)).json()
                sums = (await client.get("/v1/usage", headers=headers)).json()
                quota = (await client.get("/v1/quota", headers=headers)).json()
                found += self._compare_user(user, month["jobs"], sums, quota)
        return found

    def _compare_user(
        self, user: int, rows: list[dict[str, Any]], sums: dict[str, Any], quota: dict[str, Any]
    ) -> list[str]:
        found = []
        mine = {job.job_id: job for job in self.jobs if job.user == user}
        times = Counter(row["job_id"] for row in rows)
        found += [f"{job}: {number} times" for job, number in times.items() if number > 1]
        found += [f"{job}: nobody's" for job in times if job not in mine]
        logged = {row["job_id"]: row for row in rows}
        for job in mine.values():
            found += _wrong(job, logged.get(job.job_id))
        tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
        told = {
            "models": sum(m["prompt_tokens"] + m["completion_tokens"] for m in sums["models"]),
            "days": sum(day["tokens"] for day in sums["days"]),
            "quota": quota["tokens"]["month"]["taken"],
        }
        requests = {
            "models": sum(m["requests"] for m in sums["models"]),
            "days": sum(day["requests"] for day in sums["days"]),
        }
        found += [f"u{user}: {n} {t}, jobs {tokens}" for n, t in told.items() if t != tokens]
        found += [f"u{user}: {n} {r} jobs" for n, r in requests.items() if r != len(rows)]
        return found

    def others(self) -> list[str]:
        """The jobs that no final count stands for, one a line."""
        return [
            f"{job.job_id}  {job.way:<12} generated {job.generated:4}  "
            f"counted {'-' if job.way == 'lost' else job.told:>4}  "
            f"not counted {job.generated - (0 if job.way == 'lost' else job.told):4}"
            for job in self.jobs
            if not job.exact
        ]

    def told(self) -> str:
        """The sums of the day."""
        ways = Counter(job.way for job in self.jobs)
        exact = [job for job in self.jobs if job.exact]
        flight = [job.generated - job.told for job in self.jobs if not job.exact]
        return (
            f"{len(self.jobs)} jobs: {', '.join(f'{n} {way}' for way, n in ways.most_common())}; "
            f"{sum(job.alone for job in self.jobs)} of them without a grant.\n"
            f"{len(exact)} with a final count, {sum(j.prompt + j.told for j in exact)} tokens; "
            f"{len(flight)} others, at most {max(flight, default=0)} tokens in flight, "
            f"{sum(flight)} in all."
        )


def _wrong(job: Job, row: dict[str, Any] | None) -> list[str]:
    """What the log has of one job and should not, or the other way round."""
    if job.way == "lost":
        return [f"{job.job_id}: lost, and in the log"] if row else []
    if row is None:
        return [f"{job.job_id}: {job.way}, and not in the log"]
    counted = (row["prompt_tokens"], row["completion_tokens"], row["estimated"])
    if counted != (job.prompt, job.told, not job.exact):
        return [f"{job.job_id}: {job.way}, logged {counted}"]
    if not 0 <= job.generated - row["completion_tokens"] <= (0 if job.exact else IN_FLIGHT):
        return [f"{job.job_id}: {job.way}, generated {job.generated}, logged {counted}"]
    return []


async def _settled(broker: ControlClient, settlement: Settlement) -> None:
    """Tells it until it is taken."""
    while True:
        try:
            refused = await broker.settle([settlement])
        except (ControlUnavailable, ProblemError):
            await asyncio.sleep(0.1)
            continue
        assert not refused, refused
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="day", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=90.0, help="that the day takes (90)")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--list", action="store_true", help="the jobs without a final count")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="okome-day-"))
        server = None
        if options.database == "postgresql":
            server = PostgresServer(durable=True)
            stack.callback(server.stop)
            server.start()
        engine = HealthyEngine()
        stack.callback(engine.close)
        control = ControlProcess(Path(place), engine.port, server.fresh() if server else None)
        stack.callback(control.kill)
        day = Day(control, Options(options.jobs, options.seconds, options.kills, seed=options.seed))
        wrong = asyncio.run(day.run())
    print("\n".join(day.others() if options.list else []))
    print(day.told())
    print("\n".join(wrong[:20]) or "The log has every job once and to the token.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
