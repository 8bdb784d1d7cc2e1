"""The load process: one workload against one proxy, told by JSON on stdin, told in JSON.

    python -m bench.load < spec.json

The spec is `bench/spec.py`'s. Its own process, so that the proxy's readers never wait for
anything but themselves.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

import msgspec
import uvloop

from bench.driver import Driver
from bench.scenarios import SCENARIOS
from bench.spec import LoadSpec
from bench.usage import memory


async def run(spec: LoadSpec) -> dict[str, Any]:
    """Everything that was measured."""
    # A full collection among a million samples would show up as the proxy's latency.
    gc.freeze()
    gc.disable()
    spec = msgspec.structs.replace(spec, harness=spec.harness | {"load": os.getpid()})
    driver = Driver(spec)
    found = await SCENARIOS[spec.workload.mode](driver)
    peak = memory(spec.measured.values(), peak=True)
    await driver.aclose()
    return found | {"peak_rss_mib": peak / (1 << 20)}


def main() -> None:
    """The command line."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadSpec)
    json.dump(uvloop.run(run(spec)), sys.stdout)


if __name__ == "__main__":
    main()
