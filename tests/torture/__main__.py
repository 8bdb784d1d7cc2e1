"""`scripts/torture`: tortures a cluster of its own, and says what it has found."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.torture.chaos import UnknownMisfortune
from tests.torture.report import table
from tests.torture.run import Options, Run
from tests.torture.stage import PREFIX, stage

_EPILOG = """\
Clients of every kind (SSE, OpenAI with resume, EventSource, WebSocket) make jobs, cut their
own connections anywhere and come back at any cursor on any broker, while brokers, ingress,
control plane, log and engine are killed, hung, stopped and drained, one at a time. Every byte
that anybody is shown is compared with what everybody else was shown.

Exit status: 0 nothing was lost, repeated or changed; 1 something was; 2 wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    random.seed(seed)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"torture {time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    say(f"seed {seed}: starting the cluster")
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        found = _found(options, directory, say) | {"seed": seed}
        if found["ok"]:
            shutil.rmtree(directory)
    except UnknownMisfortune as error:
        shutil.rmtree(directory)
        print(f"torture: --only: {error}", file=sys.stderr)
        return 2
    finally:
        if directory.exists():
            say(f"the cluster's files, with all logs, are in {directory}")
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(table(found, color=color))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if found["ok"] else 1


def _found(
    options: argparse.Namespace, directory: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    rate = options.rate if options.engine == "synthetic" else None
    with stage(rate, replicated=options.replicated, directory=directory) as (cluster, engine):
        asked = Options(
            minutes=options.minutes,
            reconnects=options.reconnects,
            clients=options.clients,
            synthetic=options.engine == "synthetic",
            chaos=options.chaos,
            only=tuple(options.only),
            cuts=not options.no_cuts,
            engine=engine,
        )
        return asyncio.run(Run(cluster, asked, say).run())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torture",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="end after this (default 10)")
    parser.add_argument(
        "--reconnects", type=int, default=0, help="end after so many already (default: no bound)"
    )
    parser.add_argument("--clients", type=int, default=24, help="at once, of all kinds (24)")
    parser.add_argument(
        "--engine",
        choices=("synthetic", "embedded"),
        default="synthetic",
        help="synthetic: fast, and its text counts, so that it is checked too (default)",
    )
    parser.add_argument(
        "--replicated", action="store_true", help="with the log of the ten nodes: a Redis Cluster"
    )
    parser.add_argument("--rate", type=float, default=40.0, help="its tokens a second and stream")
    parser.add_argument(
        "--chaos",
        choices=("all", "rolling", "none"),
        default="all",
        help="what happens: everything in turn, one rolling restart of the brokers, nothing",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of everything, what begins so: redis-killed, stream-hung okome-node-03, …",
    )
    parser.add_argument("--no-cuts", action="store_true", help="clients stay as long as they can")
    parser.add_argument("--seed", type=int, help="of the choices made (default: any; it is told)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
