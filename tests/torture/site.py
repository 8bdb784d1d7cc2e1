"""Where clients may turn to, what they ask for, and what they all share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from tests.torture.book import Book, Job
from tests.torture.wire import Answer, Broken, ask

PROMPT = "Write a very long story about a fox and a river."


@dataclass
class Site:
    """One cluster. `tokens`: the least and the most that a job asks for.

    With `cuts` clients cut their own connections, and turn to brokers past the ingress.
    """

    ingress: str
    brokers: dict[str, str]
    key: str
    model: str
    book: Book
    tokens: tuple[int, int] = (60, 240)
    cuts: bool = True
    running: dict[str, Job] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def anywhere(self) -> str:
        """The ingress, or a broker."""
        if not self.cuts or random.random() < 0.5:
            return self.ingress
        return random.choice(list(self.brokers.values()))

    def place_for(self, job: Job) -> str:
        """Where a job may be read: anywhere, or at its home only."""
        if job.only_at_home:
            return self.brokers[f"okome-node-{job.job_id[1:3]}"]
        return self.anywhere()

    def request(self) -> dict[str, Any]:
        """What every job asks for."""
        return {"model": self.model, "max_tokens": random.randint(*self.tokens)}

    async def ask(self, base: str, method: str, path: str, **more: Any) -> Answer:
        """See `wire.ask`. Counts what broke."""
        try:
            return await ask(base, method, path, self.key, **more)
        except Broken:
            self.book.counts["requests that found nobody"] += 1
            raise

    def begin(self, job_id: str, kind: str, tokens: int) -> Job:
        """A job that was accepted."""
        now = asyncio.get_running_loop().time()
        job = self.running[job_id] = self.book.begin(job_id, kind, tokens, now)
        return job

    def over(self, job: Job) -> None:
        """A job has come to its end, as somebody saw."""
        self.running.pop(job.job_id, None)
