"""What a round of tools costs: time to the end of a job, and CPU of brokers and control plane.

    python -m bench.tools [--jobs 100] [--rounds 8]

The one-machine cluster, whole, before an engine that calls the calculator as often as it is
asked to and takes no time itself. Jobs come one after the other through the ingress; those
without tools stand beside those with one round and with many, so that the difference is the
rounds'. Everything shares this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bench.embeddings import percentile
from tests.support.cluster import Cluster
from tests.support.synthetic_engine import MODEL, SyntheticEngine

POLICY: Final = {
    "version": 1,
    "models": {MODEL: {"engines": [{"engine": "vllm"}], "tools": ["calculator"]}},
    "tools": {"calculator": {"kind": "calculator"}},
}
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """What jobs of so many rounds took: milliseconds each, and CPU seconds by role."""

    rounds: int
    times: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)


def question(rounds: int) -> str:
    """What makes the engine call the calculator so often, then answer."""
    call = {"id": "a", "name": "calculator", "arguments": json.dumps({"expression": "6*7"})}
    calling = [{"tool_call": call}, {"finish": "tool_calls"}]
    return json.dumps({"rounds": [calling] * rounds + [[{"text": "42"}, {"finish": "stop"}]]})


def job(http: httpx.Client, url: str, rounds: int) -> float:
    """Milliseconds from asking to the last event."""
    body: dict[str, Any] = {"model": MODEL, "prompt": question(rounds), "tools": ["calculator"]}
    begun = time.perf_counter()
    made = http.post(f"{url}/v1/jobs", json=body).raise_for_status().json()
    seen = http.get(f"{url}{made['stream_url']}").raise_for_status().text
    taken = (time.perf_counter() - begun) * 1000
    assert seen.count("event: tool_result") == rounds, seen
    assert "event: job_complete" in seen, seen
    return taken


def cpu_of(cluster: Cluster) -> dict[str, float]:
    """CPU seconds so far of the brokers and of the control plane."""
    spent = {"stream": 0.0, "control": 0.0}
    for node in cluster.status()["nodes"]:
        if node["role"] in spent:
            stat = Path(f"/proc/{node['pid']}/stat").read_text(encoding="utf-8")
            user, system = stat.rpartition(")")[2].split()[11:13]
            spent[node["role"]] += (int(user) + int(system)) / _TICKS_A_SECOND
    return spent


def measured(cluster: Cluster, rounds: list[int], jobs: int) -> list[Row]:
    """A row for each number of rounds. CPU is of that row's jobs, and of what always runs."""
    rows = []
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
        for _ in range(10):
            job(http, cluster.url, 1)
        for number in rounds:
            row, before = Row(number), cpu_of(cluster)
            row.times = [job(http, cluster.url, number) for _ in range(jobs)]
            after = cpu_of(cluster)
            row.cpu = {role: after[role] - before[role] for role in after}
            rows.append(row)
    return rows


def main() -> None:
    """Prints a table row for each, and what a round adds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=8, help="of the longest jobs, 8 at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="okome-bench-") as directory:
        policy = Path(directory) / "policy.yml"
        policy.write_text(yaml.safe_dump(POLICY), encoding="utf-8")
        cluster = Cluster(Path(directory), "127.82.1.")
        with SyntheticEngine(100_000.0) as engine:
            try:
                asked = ("--engine", engine.url, "--kind", "vllm", "--model", MODEL)
                cluster.up(*asked, "--policy", str(policy))
                rows = measured(cluster, [0, 1, options.rounds], options.jobs)
            finally:
                cluster.down()
    for row in rows:
        times = [f"{percentile(row.times, part):.1f}" for part in (0.5, 0.99)]
        cpu = [f"{1000 * row.cpu[role] / options.jobs:.2f}" for role in ("stream", "control")]
        print(f"| {row.rounds} | {' | '.join([*times, *cpu])} |")
    first, last = rows[0], rows[-1]
    middle = percentile(last.times, 0.5) - percentile(first.times, 0.5)
    spent = [
        1000 * (last.cpu[role] - first.cpu[role]) / options.jobs / last.rounds
        for role in ("stream", "control")
    ]
    print(f"a round adds {middle / last.rounds:.2f} ms; CPU {spent[0]:.2f} + {spent[1]:.2f} ms")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
