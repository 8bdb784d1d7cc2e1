"""Streams of the synthetic engine that are read to see when each event came, and come back
whenever they are cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from tests.e2e.wire import Block, blocks, numbered
from tests.support.synthetic_engine import words

TERMINAL = ("job_complete", "job_error", "job_cancelled")
_AGAIN_S = 0.05


@dataclass
class Stream:
    """One job and what was seen of it; `at` are monotonic seconds, one for each event.
    `told_without_a_log`: its end may be said by the connection, and have no number."""

    job_id: str
    url: str
    seen: list[Block] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    told_without_a_log: bool = False

    @property
    def home(self) -> str:
        """The node that its id names."""
        return f"okome-node-{self.job_id[1:3]}"

    @property
    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1].event in TERMINAL

    async def follow(self, http: httpx.AsyncClient) -> None:
        """Until its end, in as many connections as that takes."""
        while not self.ended:
            with suppress(httpx.TransportError):
                await self._connection(http)
            if not self.ended:
                await asyncio.sleep(_AGAIN_S)

    async def _connection(self, http: httpx.AsyncClient) -> None:
        cursor = {"Last-Event-ID": self.seen[-1].id or ""} if self.seen else {}
        target = f"{self.url}/v1/stream?job_id={self.job_id}&heartbeat=2"
        async with http.stream("GET", target, headers=cursor) as answer:
            if answer.status_code == 200:
                async for block in blocks(answer):
                    self.at.append(time.monotonic())
                    self.seen.append(block)

    def silence(self, since: float, until: float) -> float:
        """The longest time, in seconds, without an event that touches [since, until]."""
        return longest_gap(self.at, since, until)

    def faults(self) -> list[str]:
        """What was lost, repeated or changed of what came so far."""
        text = "".join(b.body["token"] for b in self.seen if b.event == "token")
        seen = self.seen
        if self.told_without_a_log and seen and said_by_the_connection(seen[-1]):
            seen = seen[:-1]
        found = [] if numbered(seen) else ["numbers"]
        if not words(len(text.split()) + 1).startswith(text.lstrip()):
            found.append(f"text {text[-80:]!r}")
        return [f"{self.job_id}: {fault}" for fault in found]


def said_by_the_connection(block: Block) -> bool:
    """That the log is away is no event of the log (docs/protocol.md)."""
    return block.event == "job_error" and block.body["code"] == "log_unavailable" and not block.id


def longest_gap(at: list[float], since: float, until: float) -> float:
    """The longest of the gaps between times in order that overlap [since, until], each whole;
    silence after the last of the times counts until `until`."""
    gaps = pairwise([*at, until] if at and at[-1] < until else at)
    return max((b - a for a, b in gaps if a < until and b > since), default=0.0)


async def seen_by(streams: list[Stream], enough: Callable[[Stream], bool], within: float) -> bool:
    """Waits until `enough` is true of each of them. Returns whether it became so."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if all(enough(stream) for stream in streams):
            return True
        await asyncio.sleep(_AGAIN_S)
    return False
