"""Clients of event streams, native and OpenAI-shaped, that are cut and come back."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable

from tests.torture.book import TERMINAL, Job
from tests.torture.site import PROMPT, Site
from tests.torture.wire import Answer, Block, Blocks, Broken, any_cut

# Bytes and seconds that a connection lives on average before its client cuts it.
MEAN_BYTES = 1500.0
MEAN_S = 1.5
_PAUSE_S = 0.15
# What is read again of a job that has ended.
REPLAYS = 3

Take = Callable[[Block], bool]


class Reader:
    """Makes jobs, or joins others', and reads them to the end in many connections."""

    kind = "sse"

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.name = f"{self.kind}-{number}"
        self.book = site.book
        self.cursor = 0
        self._knows: Job | None = None

    async def run(self) -> None:
        """Until the site closes; what is under way is left to the last look at all jobs."""
        while not self.site.closing.is_set():
            job = await self.find_job()
            if job is None:
                continue
            await self.read_to_end(job, 0)
            if self.site.cuts:
                for _ in range(REPLAYS):
                    await self.read_to_end(job, random.randint(0, job.last), single=True)

    async def find_job(self) -> Job | None:
        """A running one, or a new one."""
        running = list(self.site.running.values())
        if running and random.random() < 0.4:
            return random.choice(running)
        return await self.create("/v1/jobs", {"prompt": PROMPT})

    async def create(self, path: str, more: dict[str, object]) -> Job | None:
        """A job under a key, asked for until it is accepted."""
        body = self.site.request() | more
        key = os.urandom(8).hex()
        while not self.site.closing.is_set():
            try:
                answer = await self.site.ask(
                    self.site.anywhere(), "POST", path, body=body, headers={"Idempotency-Key": key}
                )
                said = await answer.json()
                answer.end("close")
            except (Broken, ValueError):
                await pause()
                continue
            if answer.status in (200, 202):
                return self.site.begin(said["job_id"], self.kind, int(str(body["max_tokens"])))
            await self.refused(answer.status, str(said.get("code")))
        return None

    async def read_to_end(self, job: Job, cursor: int, *, single: bool = False) -> None:
        """Connection after connection; with `single` one that is not cut too early."""
        self.cursor = cursor
        while True:
            try:
                over = await self.connection(job)
            except Broken:
                self.book.counts["connections that broke"] += 1
                over = False
                await pause()
            if over:
                self.site.over(job)
                return
            if single or self.site.closing.is_set():
                return
            if self.site.cuts and random.random() < 0.3:
                self.cursor = random.randint(0, self.cursor)

    async def connection(self, job: Job) -> bool:
        """One connection. Returns whether the job is over. Raises Broken."""
        answer = await self.open(job)
        self.book.counts[f"connections {self.kind}"] += 1
        self.book.counts["reconnects"] += self._knows is job
        self._knows = job
        try:
            if answer.status == 200:
                return await self.follow(job, answer, lambda block: self.take(job, block))
            if answer.status == 204:
                self.check_end(job)
                return True
            return await self.turned_away(job, answer)
        finally:
            answer.end(any_cut())

    async def open(self, job: Job) -> Answer:
        """Asks for the stream, behind the cursor."""
        path = f"/v1/stream?job_id={job.job_id}&heartbeat=5"
        headers = {}
        if random.random() < 0.5:
            # The header wins over the parameter.
            headers = {"Last-Event-ID": str(self.cursor)}
            path += "&cursor=0"
        else:
            path += f"&cursor={self.cursor}"
        return await self.site.ask(self.site.place_for(job), "GET", path, headers=headers)

    async def follow(self, job: Job, answer: Answer, take: Take) -> bool:
        """Reads until the end of the job, of the stream, or of this client's patience."""
        blocks = Blocks()
        left = random.expovariate(1 / MEAN_BYTES) if self.site.cuts else float("inf")
        patience = random.expovariate(1 / MEAN_S) if self.site.cuts else None
        try:
            async with asyncio.timeout(patience):
                async for piece in answer.pieces():
                    for block in blocks.feed(piece):
                        if take(block):
                            return True
                    left -= len(piece)
                    if left < 0:
                        self.book.counts["cut in a block" if blocks.rest else "cut"] += 1
                        return False
        except TimeoutError:
            self.book.counts["cut in silence"] += 1
            return False
        self.book.counts["ended without an end"] += 1
        if blocks.rest.strip(b"\n") not in (b"", b": keep-alive"):
            self.book.violation("half_block", f"{self.name}: {job.job_id}: {blocks.rest!r}")
        return False

    def take(self, job: Job, block: Block) -> bool:
        """One block. Returns whether it is the last."""
        if block.id is None or block.event is None:
            self.book.violation("not_of_the_log", f"{self.name}: {job.job_id}: {block.data!r}")
            return True
        self.book.native(job, self.cursor, block.id, block.event, block.data, self.name)
        self.cursor = block.id
        return block.event in TERMINAL

    def check_end(self, job: Job) -> None:
        """Told that there is nothing more."""
        if job.ends and self.cursor < min(job.ends):
            self.book.violation("lost", f"{self.name}: {job.job_id}: 204 at {self.cursor}")

    async def turned_away(self, job: Job, answer: Answer) -> bool:
        """Any other status."""
        try:
            said = await answer.json()
        except ValueError:
            said = {}
        if job.only_at_home and answer.status in (404, 421):
            return True
        code = said.get("code", said.get("error"))
        return await self.refused(answer.status, f"{code} {job.job_id} at {self.cursor}")

    async def refused(self, status: int, why: str) -> bool:
        """Not now is fine; anything else is a fault, and the end of this job's reading."""
        if status in (429, 502, 503, 504):
            self.book.counts[f"told to wait {status}"] += 1
            await pause()
            return False
        self.book.violation("refused", f"{self.name}: {status} {why}")
        return True


class EventSource(Reader):
    """As a browser's: always the same URL at the ingress, and no second try after an error."""

    kind = "eventsource"

    async def open(self, job: Job) -> Answer:
        """See Reader."""
        headers = {"Last-Event-ID": str(self.cursor)} if self.cursor else {}
        path = f"/v1/stream?job_id={job.job_id}"
        base = self.site.place_for(job) if job.only_at_home else self.site.ingress
        return await self.site.ask(base, "GET", path, headers=headers)

    async def turned_away(self, job: Job, answer: Answer) -> bool:
        """See Reader: a browser gives up for good on anything but 200 and 204."""
        if not job.only_at_home:
            told = f"{self.name}: {answer.status} for {job.job_id} at {self.cursor}"
            self.book.violation("gave_up", told)
        return True


class OpenAI(Reader):
    """A chat completion that is taken up again by GET and Last-Event-ID."""

    kind = "openai"

    async def find_job(self) -> Job | None:
        """Always one of its own: the answer to the POST is the first connection."""
        key = os.urandom(8).hex()
        body = self.site.request() | {
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": PROMPT}],
        }
        while not self.site.closing.is_set():
            try:
                job = await self._first(body, key)
            except Broken:
                await pause()
                continue
            if job is not None:
                return job
        return None

    async def _first(self, body: dict[str, object], key: str) -> Job | None:
        answer = await self.site.ask(
            self.site.anywhere(),
            "POST",
            "/v1/chat/completions",
            body=body,
            headers={"Idempotency-Key": key},
        )
        try:
            if answer.status != 200:
                said = await answer.json()
                await self.refused(answer.status, str(said))
                return None
            tokens = int(str(body["max_tokens"]))
            job = self.site.begin(answer.headers["x-okome-job-id"], self.kind, tokens)
            self.cursor, self._knows = 0, job
            try:
                await self.follow(job, answer, lambda block: self.take(job, block))
            except Broken:
                self.book.counts["connections that broke"] += 1
            return job
        finally:
            answer.end(any_cut())

    async def open(self, job: Job) -> Answer:
        """See Reader."""
        return await self.site.ask(
            self.site.place_for(job),
            "GET",
            f"/v1/chat/completions/{job.job_id}",
            headers={"Accept": "text/event-stream", "Last-Event-ID": str(self.cursor)},
        )

    def take(self, job: Job, block: Block) -> bool:
        """See Reader. Blocks without an id are never counted on."""
        if block.data != b"[DONE]" and b'"error"' in block.data:
            self.book.counts["completions that failed"] += "error" in json.loads(block.data)
        if block.id is None:
            return False
        self.book.chunk(job, self.cursor, block.id, block.data, self.name)
        self.cursor = block.id
        return block.data == b"[DONE]" or block.data.startswith(b'{"error"')


async def pause() -> None:
    """Before the next try."""
    await asyncio.sleep(random.uniform(0, 2 * _PAUSE_S))


Run = Callable[[], Awaitable[None]]
