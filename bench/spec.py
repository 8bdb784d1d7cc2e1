"""What the load process is told, and how it is told: one JSON object on its stdin."""

from __future__ import annotations

import json

import msgspec

from bench.ask import MODEL, Ask
from bench.workloads import Workload


class Target(msgspec.Struct, frozen=True):
    """Where a proxy answers chat completions, and what it wants to be told."""

    address: str
    port: int
    headers: dict[str, str] = {}
    model: str = MODEL

    def request(self, ask: Ask) -> bytes:
        """A streamed chat completion, whole."""
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": ask.text()}],
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_tokens": 1_000_000,
            }
        ).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {self.address}:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


class LoadSpec(msgspec.Struct, frozen=True):
    """One run of a workload: against what, and whose CPU time and memory to look at."""

    target: Target
    engine: tuple[str, int]
    workload: Workload
    # name -> process: what is measured, what measures, and what helps from another machine.
    measured: dict[str, int]
    harness: dict[str, int]
    seed: int = 1
    beside: dict[str, int] = {}
