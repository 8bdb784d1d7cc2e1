"""A client in the lab that reads streams through the VIP while something is broken.

Run in the client's network. It makes one job at every broker, reads each by the VIP as the
chat page does (silence beyond two heartbeats is a dead connection; it comes back with its
cursor), prints `ready` once all of them flow, and at the end one line of JSON. What it was
late for by itself, because the machine was busy, it says too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from inventory.load import load_cluster
from inventory.model import Cluster
from lab.reader import Stream
from okome.credentials import read_api_key

_HEARTBEAT_S = 3
_SILENCE_S = 6.0
_PAUSE_S = 0.25
_NOT_NOW, _TRIES = (429, 503), 80
_BY_THE_VIP = ""
_PROBE_EVERY_S = 0.05
_PROBE_S = 0.5
_FLOWS = 20
_TICK_S = 0.01
_LATE_S = 0.05
_QUESTION = "Write a very long story about a lighthouse keeper. Do not stop. (rate={})"


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
        model = options.model or cluster.role("core_gpu")[0].engines[0].model
        people = [_Person(http, model, broker, options) for broker in _brokers(cluster)]
        for person in people:
            await person.ask()
        reading = [asyncio.create_task(person.read()) for person in people]
        probing = asyncio.create_task(_probe(cluster, context))
        measuring = asyncio.create_task(_lateness())
        for person in people:
            await person.flows.wait()
        print("ready", flush=True)
        if options.ready:
            options.ready.touch()
        done, _ = await asyncio.wait(reading, timeout=options.timeout)
        for task in (probing, measuring):
            task.cancel()
        for each in done:
            each.result()
        streams = [stream for person in people for stream in person.streams]
        told = [await _text(http, stream.job) for stream in streams]
    summaries = [stream.summary(text) for stream, text in zip(streams, told, strict=True)]
    result = {"streams": summaries, "vip_away_s": await probing, "late": await measuring}
    print(json.dumps(result), flush=True)
    return 0 if all(stream.end for stream in streams) else 1


def _brokers(cluster: Cluster) -> list[str]:
    return [f"http://{node.address}:{node.port}" for node in cluster.role("stream")]


class _Person:
    """Who asks at one broker, and, for as long as `lasting` says, anew after each answer: there
    or, where that broker takes no jobs just then, by the VIP. `flows`: the first one does."""

    def __init__(
        self, http: httpx.AsyncClient, model: str, broker: str, options: argparse.Namespace
    ) -> None:
        self.streams: list[Stream] = []
        self.flows = asyncio.Event()
        self._http = http
        self._broker = broker
        self._end = time.monotonic() + options.lasting
        self._body = {
            "model": model,
            "prompt": _QUESTION.format(options.rate),
            "max_tokens": options.tokens,
            "temperature": 1.0,
        }

    async def ask(self, *others: str) -> None:
        """Raises httpx.HTTPError where nobody takes the job for some time."""
        # An engine that was broken by the drill before is not trusted again at once.
        for place in (self._broker, *others) * _TRIES:
            try:
                answer = await self._http.post(f"{place}/v1/jobs", json=self._body)
            except httpx.TransportError:
                if not others:
                    raise
            else:
                if answer.status_code not in _NOT_NOW:
                    break
            await asyncio.sleep(_PAUSE_S)
        answer.raise_for_status()
        self.streams.append(Stream(str(answer.json()["job_id"])))

    async def read(self) -> None:
        """Returns when the last answer has ended."""
        await _read(self._http, self.streams[-1], self.flows)
        while time.monotonic() < self._end:
            await self.ask(_BY_THE_VIP)
            await _read(self._http, self.streams[-1], self.flows)


async def _read(http: httpx.AsyncClient, stream: Stream, flows: asyncio.Event) -> None:
    while not stream.end:
        try:
            async for block in _blocks(http, stream):
                stream.take(time.monotonic(), block)
                if len(stream.events) >= _FLOWS:
                    flows.set()
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


async def _lateness() -> list[tuple[float, float]]:
    """Until cancelled: (when, by how much) this process was kept from running."""
    found = []
    try:
        while True:
            due = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late = time.monotonic() - due
            if late > _LATE_S:
                found.append((round(due, 3), round(late, 3)))
    except asyncio.CancelledError:
        return found


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
    parser.add_argument("--rate", type=float, default=40, help="tokens a second that are asked for")
    parser.add_argument(
        "--lasting", type=float, default=0, help="seconds for which each answer is followed by one"
    )
    parser.add_argument("--model", help="default: the first one of the inventory")
    parser.add_argument("--ready", type=Path, metavar="FILE", help="made once all of them flow")
    parser.add_argument("--timeout", type=float, default=180, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
