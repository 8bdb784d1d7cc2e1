"""Measures OKOME and its peers side by side; `scripts/bench` calls this.

Every measurement starts an engine, a proxy and a load, and ends them: engine and load on
core 0, the proxy with all its processes on core 1. Peers follow each other within each
workload, and workloads within each round, so that a machine that grows slower does so for
all of them. Results are saved after each measurement; Ctrl-C keeps what there is.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import machine
from bench.glance import glance
from bench.measure import measure
from bench.peers.all import PEERS
from bench.peers.base import Peer
from bench.processes import BenchError
from bench.report import write_report
from bench.results import Results, Row, save
from bench.workloads import WORKLOADS, Workload
from okome.errors import OkomeError
from okome.paths import cache_dir

_ROOT = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what was asked for; returns the exit status."""
    options = _parser().parse_args(argv)
    if (os.cpu_count() or 1) < 2:
        print("bench: two cores are needed, one for the proxy alone", file=sys.stderr)
        return 1
    peers, workloads = _chosen(options)
    cache = cache_dir(os.environ) / "bench"
    skipped = {peer.name: why for peer in peers if (why := peer.missing(cache))}
    for name, why in skipped.items():
        _say(f"without {name}: {why}")
    peers = [peer for peer in peers if peer.name not in skipped]
    results = Results(
        machine=machine.describe() | {"files": str(machine.raise_limits())},
        quick=options.quick,
        titles={peer.name: peer.title for peer in PEERS.values()},
        versions=machine.versions(peers, cache),
        skipped=skipped,
        rows=[],
    )
    _announce(results, peers, workloads)
    try:
        _run(results, list(_order(options.rounds, peers, workloads)), cache, options.json)
    except KeyboardInterrupt:
        _say("stopped; what has been measured is kept")
    if options.report:
        write_report(results, _ROOT / "docs")
        _say("docs/performance.md and docs/performance.svg are written")
    return 0 if results.rows and all(row.error is None for row in results.rows) else 1


def _run(
    results: Results, order: list[tuple[int, Workload, Peer]], cache: Path, target: Path
) -> None:
    begin = time.monotonic()
    for done, (number, workload, peer) in enumerate(order, 1):
        row = Row(round=number, peer=peer.name, workload=workload.name)
        try:
            row.values = measure(peer, workload, cache, seed=number)
        except (BenchError, OkomeError, OSError) as error:
            row.error = str(error).splitlines()[0]
        results.rows.append(row)
        save(results, target)
        spent = time.monotonic() - begin
        left = spent / done * (len(order) - done)
        _say(f"[{done}/{len(order)}, {left / 60:.0f} min left] round {number} {glance(row)}")


def _order(
    rounds: int, peers: list[Peer], workloads: list[Workload]
) -> Iterator[tuple[int, Workload, Peer]]:
    for number in range(1, rounds + 1):
        for workload in workloads:
            for peer in peers:
                if workload.name not in peer.skips:
                    yield number, workload, peer


def _announce(results: Results, peers: list[Peer], workloads: list[Workload]) -> None:
    _say(", ".join(f"{name} {value}" for name, value in results.machine.items()))
    _say("peers: " + ", ".join(f"{p.name} {results.versions[p.name]}".strip() for p in peers))
    for workload in workloads:
        _say(f"{workload.name}: {workload.title}")


def _chosen(options: argparse.Namespace) -> tuple[list[Peer], list[Workload]]:
    peers = [PEERS[name] for name in options.peers or PEERS]
    workloads = [WORKLOADS[name] for name in options.workloads or WORKLOADS]
    return peers, [w.quick() for w in workloads] if options.quick else workloads


def _say(line: str) -> None:
    print(f"bench: {line}", flush=True)


def _names(known: Sequence[str]) -> str:
    return f"of: {', '.join(known)} (default: all)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    peers, workloads = tuple(PEERS), tuple(WORKLOADS)
    add = parser.add_argument
    add("--peers", nargs="+", choices=peers, metavar="PEER", help=_names(peers))
    add("--workloads", nargs="+", choices=workloads, metavar="NAME", help=_names(workloads))
    add("--rounds", type=int, default=2, help="how often all of it is measured (default: 2)")
    add("--quick", action="store_true", help="short and small: shows that it works, no figures")
    default = Path("bench-results.json")
    add("--json", type=Path, default=default, metavar="OUT", help=f"results (default: {default})")
    add("--report", action="store_true", help="write the table and plot into docs/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
