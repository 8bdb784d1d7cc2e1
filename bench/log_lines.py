"""What log lines cost, and how many a job brings.

    python -m bench.log_lines [--lines 20000] [--rounds 7] [--jobs 200] [--no-cluster]

First a line by itself, as a broker writes it, with what is bound for a job: microseconds of CPU
time, the best round; a line below the level that is written; and for comparison the same by
`logging`'s own formatter, as text. Then a one-machine cluster, and what its processes have
written for each of so many jobs that go well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import httpx

from observability.logs import bind, configure_logging, user_mark
from tests.support.cluster import Cluster
from tests.support.synthetic_engine import MODEL, SyntheticEngine

_AT_ONCE = 4
_JOB = "n03w0-01k9zq0v3m4x5y6z7a8b9c0d1e"
_LOG = logging.getLogger("bench.log_lines")
# As docs/logs.md has them, of a job that has ended.
_ENDED = {"event": "job_complete", "code": "stop", "prompt_tokens": 12, "completion_tokens": 340,
          "ttft_ms": 180.2, "gap_p99_ms": 41.7, "jitter_ms": 12.9}  # fmt: skip


def ours(stream: TextIO) -> None:
    """As a broker begins."""
    configure_logging("info", {"node": "okome-node-03", "worker": 0}, stream=stream)
    bind(job_id=_JOB, request_id="7f3c0a1b2d4e", user=user_mark("u1"), grant_id="g-01k9zq0v3m")


def plain(stream: TextIO) -> None:
    """The library's own."""
    logging.basicConfig(level="INFO", stream=stream, force=True)


def each(ready: Callable[[TextIO], None], level: int, options: argparse.Namespace) -> float:
    """Microseconds of CPU time a line, into a file."""
    best = float("inf")
    with tempfile.TemporaryFile("w", encoding="utf-8") as stream:
        ready(stream)
        for _ in range(options.rounds):
            stream.seek(0)
            begin = time.process_time()
            for _ in range(options.lines):
                _LOG.log(level, "ended", extra=_ENDED)
            best = min(best, time.process_time() - begin)
    return best / int(options.lines) * 1e6


def written(cluster: Cluster) -> Counter[tuple[str, str]]:
    """Lines and bytes so far, by process."""
    found: Counter[tuple[str, str]] = Counter()
    for path in cluster.paths.logs.glob("*.log"):
        lines = path.read_bytes().splitlines()
        role = "broker" if "node-0" in path.name else path.stem
        found[role, "lines"] += len(lines)
        found[role, "bytes"] += sum(map(len, lines))
        found[role, "of jobs"] += sum(_of_a_job(line) for line in lines)
    return found


def _of_a_job(line: bytes) -> bool:
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return isinstance(told, dict) and ("job_id" in told or "grant_id" in told)


async def jobs(cluster: Cluster, count: int) -> None:
    """So many answers, four at once, each read to its end."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    body = {"model": MODEL, "max_tokens": 20, "stream": True,
            "messages": [{"role": "user", "content": "Count."}]}  # fmt: skip
    left = iter(range(count))

    async def one_by_one(http: httpx.AsyncClient) -> None:
        for _ in left:
            answer = await http.post(f"{cluster.url}/v1/chat/completions", json=body)
            assert answer.text.rstrip().endswith("[DONE]"), answer.text

    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        await asyncio.gather(*(one_by_one(http) for _ in range(_AT_ONCE)))


def in_a_cluster(count: int) -> None:
    """Prints what the processes of a cluster have written for each job."""
    with (
        tempfile.TemporaryDirectory(prefix="okome-lines-") as place,
        SyntheticEngine(400) as engine,
    ):
        cluster = Cluster(Path(place), f"127.91.{os.getpid() % 250}.")
        try:
            engine_of = ("--engine", engine.url, "--kind", "vllm", "--model", MODEL)
            cluster.up(*engine_of, "--set", "streams_per_user=1000")
            asyncio.run(jobs(cluster, _AT_ONCE))
            before = written(cluster)
            asyncio.run(jobs(cluster, count))
            # Settlements are sent, and told of, behind the answers.
            time.sleep(2)
            grown = written(cluster) - before
        finally:
            cluster.down()
    print("| of a job | lines | of which name it | bytes |\n| --- | --- | --- | --- |")
    for role in sorted({role for role, _ in grown}):
        counts = [grown[role, what] / count for what in ("lines", "of jobs", "bytes")]
        print(f"| {role} | {counts[0]:.2f} | {counts[1]:.2f} | {counts[2]:.0f} |")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--no-cluster", action="store_true", help="only what a line costs")
    options = parser.parse_args()
    print("| a line | us of CPU time |\n| --- | --- |")
    print(f"| as JSON, with its ids | {each(ours, logging.INFO, options):.2f} |")
    print(f"| below the level | {each(ours, logging.DEBUG, options):.2f} |")
    print(f"| the library's text, without ids | {each(plain, logging.INFO, options):.2f} |")
    logging.disable()
    if not options.no_cluster:
        in_a_cluster(options.jobs)


if __name__ == "__main__":
    main()
