"""A client in the lab that reads streams through the VIP while something is broken.

Run in the client's network. It makes one job at every broker, reads each by the VIP as the
chat page does (silence beyond two heartbeats is a dead connection; it comes back with its
cursor), prints `ready` once all of them flow, and at the end one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx

from inventory.load import load_cluster
from inventory.model import Cluster
from okome.credentials import read_api_key

_HEARTBEAT_S = 3
_SILENCE_S = 6.0
_PAUSE_S = 0.25
_PROBE_EVERY_S = 0.05
_PROBE_S = 0.5
_FLOWS = 5
_QUESTION = "Write a very long story about a lighthouse keeper. Do not stop."


@dataclass
class Stream:
    """What came of one job. `arrivals` holds (when, seq) of its events."""

    job: str
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    text: str = ""
    end: str = ""
    connections: int = 0
    repeated: int = 0
    notices: list[str] = field(default_factory=list)
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def cursor(self) -> int:
        """Of the last event that came."""
        return self.arrivals[-1][1] if self.arrivals else 0

    def take(self, now: float, block: list[str]) -> None:
        """One event, as its lines."""
        fields = dict(line.split(": ", 1) for line in block if ": " in line)
        seq, data = int(fields["id"]), json.loads(fields["data"])
        if seq <= self.cursor:
            self.repeated += 1
            return
        self.arrivals.append((now, seq))
        if len(self.arrivals) == _FLOWS:
            self.flows.set()
        name = fields.get("event", "")
        if name == "token":
            self.text += data.get("token", "")
        elif name == "notice":
            self.notices.append(data["code"])
        elif name.startswith("job_"):
            self.end = f"{name} {data.get('code') or data.get('finish_reason') or ''}".strip()

    def summary(self, told: str | None) -> dict[str, object]:
        """`told`: the whole text, as the job's record has it."""
        times = [when for when, _ in self.arrivals]
        gaps = sorted(b - a for a, b in pairwise(times))
        lost = self.cursor - len(self.arrivals)
        return {
            "home": self.job.partition("-")[0],
            "events": len(self.arrivals),
            "lost": lost,
            "repeated": self.repeated,
            "same_text": told == self.text,
            "end": self.end,
            "connections": self.connections,
            "notices": self.notices,
            "gap_max_s": round(gaps[-1], 2) if gaps else None,
            "gap_p50_s": round(gaps[len(gaps) // 2], 3) if gaps else None,
            "gaps_largest_s": [round(gap, 2) for gap in gaps[-4:]],
        }


async def main() -> int:
    """Returns 0 when every stream came to its end."""
    options = _parser().parse_args()
    cluster = load_cluster(options.inventory)
    context = ssl.create_default_context(cafile=str(options.secrets / "authority/certificate.pem"))
    key = read_api_key(options.secrets / "credentials")
    async with httpx.AsyncClient(
        base_url=cluster.url,
        verify=context,
        headers={"Authorization": f"Bearer {key}"},
        timeout=httpx.Timeout(_SILENCE_S, connect=2.0),
        trust_env=False,
    ) as http:
        streams = [Stream(await _make(http, cluster, n, options.tokens)) for n in _brokers(cluster)]
        reading = [asyncio.create_task(_read(http, stream)) for stream in streams]
        probing = asyncio.create_task(_probe(cluster, context))
        for stream in streams:
            await stream.flows.wait()
        print("ready", flush=True)
        await asyncio.wait(reading, timeout=options.timeout)
        probing.cancel()
        outages = await probing
        told = [await _text(http, stream.job) for stream in streams]
    summaries = [stream.summary(text) for stream, text in zip(streams, told, strict=True)]
    print(json.dumps({"streams": summaries, "vip_away_s": outages}), flush=True)
    return 0 if all(stream.end for stream in streams) else 1


def _brokers(cluster: Cluster) -> list[str]:
    return [f"http://{node.address}:{node.port}" for node in cluster.role("stream")]


async def _make(http: httpx.AsyncClient, cluster: Cluster, broker: str, tokens: int) -> str:
    model = cluster.role("core_gpu")[0].engines[0].model
    body = {"model": model, "prompt": _QUESTION, "max_tokens": tokens, "temperature": 1.0}
    answer = await http.post(f"{broker}/v1/jobs", json=body)
    answer.raise_for_status()
    return str(answer.json()["job_id"])


async def _read(http: httpx.AsyncClient, stream: Stream) -> None:
    while not stream.end:
        try:
            async for block in _blocks(http, stream):
                stream.take(time.monotonic(), block)
        except httpx.HTTPError:
            pass
        if not stream.end:
            await asyncio.sleep(_PAUSE_S)


async def _blocks(http: httpx.AsyncClient, stream: Stream) -> AsyncIterator[list[str]]:
    url = f"/v1/stream?job_id={stream.job}&heartbeat={_HEARTBEAT_S}"
    headers = {"Last-Event-ID": str(stream.cursor)}
    stream.connections += 1
    async with http.stream("GET", url, headers=headers) as answer:
        answer.raise_for_status()
        block: list[str] = []
        async for line in answer.aiter_lines():
            if line and not line.startswith((":", "retry:")):
                block.append(line)
            elif not line and block:
                yield block
                block = []


async def _text(http: httpx.AsyncClient, job: str) -> str | None:
    for _ in range(20):
        try:
            answer = await http.get(f"/v1/jobs/{job}")
            answer.raise_for_status()
            return str(answer.json()["text"])
        except httpx.HTTPError:
            await asyncio.sleep(_PAUSE_S)
    return None


async def _probe(cluster: Cluster, context: ssl.SSLContext) -> list[float]:
    """Until cancelled: asks by a new connection each time. Returns how long nobody answered,
    from the last good answer to the next, each time."""
    good, bad, outages = time.monotonic(), False, []
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        async with httpx.AsyncClient(
            base_url=cluster.url, verify=context, timeout=_PROBE_S, limits=limits, trust_env=False
        ) as http:
            while True:
                try:
                    failed = (await http.get("/healthz")).status_code != 200
                except httpx.HTTPError:
                    failed = True
                now = time.monotonic()
                if not failed:
                    if bad:
                        outages.append(round(now - good, 2))
                    good = now
                bad = failed
                await asyncio.sleep(_PROBE_EVERY_S)
    except asyncio.CancelledError:
        return outages


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab.watch", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True)
    parser.add_argument("--secrets", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=300, help="of each answer")
    parser.add_argument("--timeout", type=float, default=180, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
