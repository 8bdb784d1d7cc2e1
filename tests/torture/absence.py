"""The control plane away under load, minute by minute (CONTRACT, promise 8).

    python -m tests.torture.absence [--minute 60] [--away 10] [--rate 3] [--json FILE]

Jobs are asked for at a rate, a few long streams run through all of it, and old jobs are read
again, at any cursor on any broker, while the control plane is stopped for ten minutes and
started again. Then every job that was ever begun has to be in the usage, once and to the
token. `--minute` shortens a minute, and with it the five that brokers go on alone.

Exit status: 0 as the contract says it, 1 not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.wire import Block, blocks, numbered
from tests.support.cluster import Cluster
from tests.support.synthetic_engine import MODEL, words
from tests.torture.stage import stage

CONTROL: Final = "okome-control"
UNAVAILABLE: Final = "control_plane_unavailable"
ALONE_MINUTES: Final = 5
_TERMINAL: Final = ("job_complete", "job_error", "job_cancelled")
_TOKENS_A_SECOND: Final = 5.0
_LONG_STREAMS: Final = 5
_RECONCILED_WITHIN_S: Final = 120.0


@dataclass
class Minute:
    """What was seen in one."""

    counts: Counter[str] = field(default_factory=Counter)
    silence_s: float = 0.0
    running: int = 0
    spooled: int = 0


@dataclass
class Job:
    """One that was accepted."""

    job_id: str
    tokens: int
    seen: list[Block] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1].event in _TERMINAL

    def faults(self) -> list[str]:
        """What is wrong with an ended one."""
        text = "".join(b.body["token"] for b in self.seen if b.event == "token")
        found = []
        if not numbered(self.seen):
            found.append("numbers")
        if self.seen[-1].event != "job_complete":
            found.append(self.seen[-1].data)
        if text.strip() != words(self.tokens).strip():
            found.append("text")
        return [f"{self.job_id}: {fault}" for fault in found]


class Absence:
    """One run over a cluster. `minute_s` seconds are a minute."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace, http: httpx.AsyncClient):
        self.minutes: dict[int, Minute] = {}
        self.faults: list[str] = []
        self._cluster = cluster
        self._options = options
        self._http = http
        self._nodes = [f"okome-node-{number:02}" for number in (3, 4, 5, 6)]
        self._jobs: list[Job] = []
        self._following: set[asyncio.Task[None]] = set()
        self._zero = 0.0

    def now(self) -> Minute:
        """The minute that it is; the one before the stop has number -1."""
        number = int((time.monotonic() - self._zero) // self._options.minute)
        return self.minutes.setdefault(number, Minute())

    async def run(self) -> float:
        """All of it. Returns the seconds from the return of the control plane to the moment
        when everything was counted."""
        minute, away = self._options.minute, self._options.away
        self._zero = time.monotonic() + minute
        work = [asyncio.create_task(self._every(1 / self._options.rate, self._ask))]
        work += [asyncio.create_task(self._every(1.0, one)) for one in (self._again, self._look)]
        lasting = int((away + 2) * minute * _TOKENS_A_SECOND)
        for _ in range(_LONG_STREAMS):
            await self._begin(lasting)
        await self._until(0)
        await asyncio.to_thread(self._cluster.stop, CONTROL)
        await self._until(away)
        await asyncio.to_thread(self._cluster.start, CONTROL)
        back = time.monotonic()
        await self._until(away + 2)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.gather(*self._following)
        self.faults += [fault for job in self._jobs for fault in job.faults()]
        return await self._reconciled() - back

    async def _until(self, minute: int) -> None:
        await asyncio.sleep(self._zero + minute * self._options.minute - time.monotonic())

    async def _every(self, pause_s: float, act: Callable[[], Awaitable[None]]) -> None:
        """Until it is cancelled, at random moments."""
        acts: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(random.expovariate(1 / pause_s))
            task = asyncio.create_task(self._guarded(act))
            acts.add(task)
            task.add_done_callback(acts.discard)

    async def _guarded(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except Exception as error:
            self.faults.append(f"{act.__name__}: {error!r}")

    async def _ask(self) -> None:
        await self._begin(random.randint(10, 40))

    async def _begin(self, tokens: int) -> None:
        body = {"model": MODEL, "prompt": "Count.", "max_tokens": tokens}
        answer = await self._http.post(f"{self._cluster.url}/v1/jobs", json=body)
        counts = self.now().counts
        if answer.status_code != 202:
            counts[answer.json()["code"]] += 1
            if "retry-after" not in answer.headers:
                self.faults.append(f"no Retry-After: {answer.text}")
            return
        job = Job(answer.json()["job_id"], tokens)
        self._jobs.append(job)
        task = asyncio.create_task(self._follow(job, counts))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, job: Job, counts: Counter[str]) -> None:
        """Reads a job to its end as a client does, and notes how long it was silent."""
        last = time.monotonic()
        while not job.ended:
            cursor = {"Last-Event-ID": job.seen[-1].id or ""} if job.seen else {}
            target = f"{self._cluster.url}/v1/stream?job_id={job.job_id}"
            with suppress(httpx.TransportError):
                async with self._http.stream("GET", target, headers=cursor) as answer:
                    async for block in blocks(answer):
                        job.seen.append(block)
                        minute, now = self.now(), time.monotonic()
                        if len(job.seen) > 2:
                            minute.silence_s = max(minute.silence_s, now - last)
                        last = now
                        if len(job.seen) == 1:
                            alone = block.event == "notice"
                            counts["alone" if alone else "granted"] += 1

    async def _again(self) -> None:
        """Reads what has been read before, from any cursor, on any broker."""
        known = [job for job in self._jobs if len(job.seen) > 2]
        if not known:
            return
        job = random.choice(known[-600:])
        cursor = random.randrange(len(job.seen) - 1)
        before = [(b.id, b.data) for b in job.seen[cursor:]]
        url = self._cluster.broker_url(random.choice(self._nodes))
        target = f"{url}/v1/stream?job_id={job.job_id}&cursor={cursor}"
        found: list[tuple[str | None, str]] = []
        async with self._http.stream("GET", target) as answer:
            async for block in blocks(answer):
                found.append((block.id, block.data))
                if len(found) == len(before):
                    break
        self.now().counts["resumed" if found == before else "not resumed"] += 1

    async def _look(self) -> None:
        """What the control plane answers by itself, and what waits for it."""
        answer = await self._http.get(f"{self._cluster.url}/v1/quota")
        minute = self.now()
        minute.counts[f"quota {answer.status_code}"] += 1
        minute.running = sum(not job.ended for job in self._jobs)
        spooled = 0
        for node in self._nodes:
            text = (await self._http.get(f"{self._cluster.broker_url(node)}/metrics")).text
            spooled += sum(
                int(float(line.split()[1]))
                for line in text.splitlines()
                if line.startswith("okome_broker_settlements_spooled ")
            )
        minute.spooled = spooled

    async def _reconciled(self) -> float:
        """When every job was counted, once and to the token; a fault if that never was."""
        used = [job.seen[-1].body["usage"] for job in self._jobs]
        wanted = (len(used), sum(u["prompt_tokens"] + u["completion_tokens"] for u in used))
        deadline = time.monotonic() + _RECONCILED_WITHIN_S
        while time.monotonic() < deadline:
            usage = (await self._http.get(f"{self._cluster.url}/v1/usage")).json()["models"]
            tokens = sum(m["prompt_tokens"] + m["completion_tokens"] for m in usage)
            if (found := (sum(m["requests"] for m in usage), tokens)) == wanted:
                return time.monotonic()
            await asyncio.sleep(0.5)
        self.faults.append(f"counted {found}, used {wanted}")
        return deadline

    def broken(self) -> list[str]:
        """What is not as the contract says it. Brokers count from
        their last successful poll, so the minutes about a change may have both."""
        found = list(self.faults)
        for number, minute in sorted(self.minutes.items()):
            may = {"granted", "alone"}
            if 0 < number < self._options.away:
                may = {"alone"} if number < ALONE_MINUTES else {UNAVAILABLE}
            if number in (ALONE_MINUTES - 1, ALONE_MINUTES, self._options.away):
                may |= {"alone", UNAVAILABLE}
            odd = {c for c in minute.counts if c not in may and not c.startswith(("quota", "res"))}
            if odd:
                found.append(f"minute {number}: {sorted(odd)}")
        return found


def table(minutes: dict[int, Minute], away: int) -> str:
    """For a page."""
    head = "minute|the control plane|granted|alone|503|streams running|longest silence, s"
    head += "|read again|not|`/v1/quota`|settlements waiting"
    lines = [f"| {' | '.join(head.split('|'))} |", "|" + " --- |" * 11]
    for number, minute in sorted(minutes.items()):
        counts = minute.counts
        quota = {n.split()[1]: c for n, c in sorted(counts.items()) if n.startswith("quota")}
        cells: list[Any] = [
            number,
            "away" if 0 <= number < away else "there",
            *(counts[name] for name in ("granted", "alone", UNAVAILABLE)),
            minute.running,
            f"{minute.silence_s:.2f}",
            *(counts[name] for name in ("resumed", "not resumed")),
            ", ".join(f"{code}: {count}" for code, count in quota.items()),
            minute.spooled,
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="absence", description=__doc__)
    parser.add_argument("--minute", type=float, default=60.0, help="seconds (60)")
    parser.add_argument("--away", type=int, default=10, help="minutes (10)")
    parser.add_argument("--rate", type=float, default=3.0, help="new jobs a second (3)")
    parser.add_argument("--seed", type=int, help="of the choices made")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    random.seed(options.seed)
    settings = {
        "degraded_for": ALONE_MINUTES * options.minute,
        "max_tokens": 10_000,
        "job_deadline": 3600,
    }
    with stage(_TOKENS_A_SECOND, settings=settings) as (cluster, _):
        found = asyncio.run(_run(cluster, options))
    print(table(found.minutes, options.away))
    for fault in (broken := found.broken())[:20]:
        print("broken:", fault)
    if options.json:
        told = {n: {**vars(m), "counts": dict(m.counts)} for n, m in found.minutes.items()}
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 1 if broken else 0


async def _run(cluster: Cluster, options: argparse.Namespace) -> Absence:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(
        headers=headers, timeout=30, trust_env=False, limits=limits
    ) as http:
        absence = Absence(cluster, options, http)
        seconds = await absence.run()
        print(f"all counted {seconds:.1f} s after it was back, at most\n", flush=True)
        return absence


if __name__ == "__main__":
    sys.exit(main())
