"""What a drill of playbooks/drill.yml has come to, by what the client of lab/watch.py has read.

Reads the client's result on standard input, prints one line for a person, and ends with 1
where something was not as it should be. Times are of the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from lab.drill import judged, line
from lab.drills import Drill


def verdict(options: argparse.Namespace, result: dict[str, Any]) -> tuple[str, bool]:
    """The line, and whether all was well."""
    drill = Drill(
        options.drill,
        options.drill,
        strike=lambda _: None,
        hit=options.hit,
        home=options.home or None,
        others=options.others,
        vip=options.vip,
    )
    found = judged(drill, {**_as_told(result), "struck": options.struck})
    return line(drill, found), not found["faults"]


def _as_told(result: dict[str, Any]) -> dict[str, Any]:
    """With an engine that does not say when it sent a token, it was silent for as long as its
    broker heard nothing."""
    gaps = [gap for stream in result["streams"] for gap in stream["gaps"]]
    if any(gap["engine"] is not None for gap in gaps):
        return result
    streams = [
        {**stream, "gaps": [{**gap, "engine": gap["broker"]} for gap in stream["gaps"]]}
        for stream in result["streams"]
    ]
    return {**result, "streams": streams}


def parser() -> argparse.ArgumentParser:
    """Of its arguments."""
    found = argparse.ArgumentParser(prog="lab.verdict", description=__doc__)
    found.add_argument("drill", help="its name")
    found.add_argument("--struck", type=float, required=True, help="when, monotonic seconds")
    found.add_argument("--hit", type=float, required=True, help="longest gap of those it hits")
    found.add_argument("--others", type=float, help="of all others")
    found.add_argument("--vip", type=float, default=2.0, help="without the VIP, new connections")
    found.add_argument("--home", help="of the jobs that are hit, as n04w0; default: all")
    return found


def main() -> int:
    """Returns 1 where something was not as it should be."""
    said = sys.stdin.read().strip()
    if not said:
        print("the client ended without a result", file=sys.stderr)
        return 1
    text, well = verdict(parser().parse_args(), json.loads(said.splitlines()[-1]))
    print(text)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
