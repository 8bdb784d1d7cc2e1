"""Records when the tokens of a running engine arrive, as test data for the pacer.

    python -m bench.record_trace --url http://127.0.0.1:8000 --model smollm2:135m \
        --engine "vLLM 0.32.0 CPU, eager" --streams 4 --tokens 400 > tests/data/traces/NAME.json

Through the project's own engine client, so an arrival is what one read of a broker
would have brought: [microseconds since the stream's first token, events]. The streams
start together; the time to the first token is not recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import time
from typing import Any

import uvloop

from contracts.grants import EngineTarget
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text

PROMPTS = [
    "Tell a long story about a lighthouse and its keeper.",
    "Explain in detail how bread is made, step by step.",
    "Describe a walk through an old city in the rain.",
    "Write a long letter to a friend about a journey by train.",
    "Explain how rivers shape the land over a million years.",
    "Tell the history of paper from its beginnings.",
    "Describe a day in the life of a beekeeper.",
    "Write a long essay about the sea.",
]


class Arrivals:
    """The sink of one stream."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[float, int]] = []
        self.over = asyncio.Event()
        self.failure: str | None = None

    def deltas(self, deltas: list[Delta]) -> None:
        """Notes the time and the number of text events of one read."""
        count = sum(isinstance(delta, Text | Reasoning) for delta in deltas)
        if count:
            self.arrivals.append((time.monotonic(), count))
        if isinstance(deltas[-1], Failure):
            self.failure = deltas[-1].message
        if isinstance(deltas[-1], Failure | Finish):
            self.over.set()

    def offsets(self) -> list[list[int]]:
        """[microseconds since the first, events] of each arrival."""
        first = self.arrivals[0][0]
        return [[round((at - first) * 1e6), count] for at, count in self.arrivals]


async def record(url: str, model: str, streams: int, tokens: int) -> list[list[list[int]]]:
    """The arrivals of `streams` answers generated at once."""
    client = EngineClient(connect_timeout=5, idle_timeout=120, line_max=1 << 20)
    target = EngineTarget(kind="vllm", base_url=url, model=model)
    sinks = [Arrivals() for _ in range(streams)]
    for number, sink in enumerate(sinks):
        messages = [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}]
        call = EngineCall(model=model, messages=messages, max_tokens=tokens, seed=number)
        await client.start(target, call, sink)
    await asyncio.gather(*(sink.over.wait() for sink in sinks))
    await client.aclose()
    failures = [sink.failure for sink in sinks if sink.failure]
    if failures:
        raise SystemExit(f"the engine failed: {failures[0]}")
    return [sink.offsets() for sink in sinks]


def trace(options: argparse.Namespace) -> dict[str, Any]:
    """A recording with what has to be known to judge it."""
    arrivals = uvloop.run(record(options.url, options.model, options.streams, options.tokens))
    return {
        "engine": options.engine,
        "model": options.model,
        "machine": f"{os.cpu_count()} x {platform.machine()} cores, load {os.getloadavg()[0]:.1f}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "how": f"bench/record_trace.py, {options.streams} at once, over loopback",
        "unit": "[microseconds since the stream's first token, events in that read]",
        "streams": arrivals,
    }


def main() -> None:
    """Prints the trace, one stream a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--engine", required=True, help="name and version, for the header")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=400)
    content = trace(parser.parse_args())
    streams = content.pop("streams")
    head = json.dumps(content, indent=1)[:-2]
    rows = ",\n".join("  " + json.dumps(stream, separators=(",", ":")) for stream in streams)
    print(f'{head},\n "streams": [\n{rows}\n ]\n}}')


if __name__ == "__main__":
    main()
