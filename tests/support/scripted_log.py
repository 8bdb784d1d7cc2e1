"""The event log that a test writes, and connections that serve it as badly as their script says."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

TERMINAL = {"job_complete", "job_error", "job_cancelled"}


@dataclass
class Connection:
    """What one connection of `/v1/stream` does. Without a script it serves the log to its end."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    code: str = "overloaded"
    until: int | None = None
    """Serve events up to this seq only."""
    then: str = "end"
    """After `until`: `end` cleanly, `cut` in the middle of the next block, or say `nothing`."""
    piece: int | None = None
    """Bytes per write."""
    repeat: int = 0
    """Send this many events from before the cursor again."""
    raw: bytes | None = None
    """Send these bytes in place of the log, then end."""


class Job:
    """The event log of one job; the test writes it."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.changed = asyncio.Condition()

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1][0] in TERMINAL

    @property
    def text(self) -> str:
        return "".join(data["token"] for name, data in self.events if name == "token")

    async def append(self, name: str, /, **data: Any) -> None:
        async with self.changed:
            self.events.append((name, {"job_id": self.job_id, "seq": len(self.events) + 1, **data}))
            self.changed.notify_all()

    async def say(self, *tokens: str) -> None:
        for token in tokens:
            await self.append("token", token=token, ts=time.time())

    async def complete(self, reason: str = "stop") -> None:
        usage = {"prompt_tokens": 7, "completion_tokens": len(self.events), "cached_tokens": 0}
        metrics = {
            "ttft_ms": 12.0,
            "tokens_per_second": 42.0,
            "gap_p50_ms": 20.0,
            "gap_p99_ms": 30.0,
            "jitter_ms": 10.0,
        }
        await self.append("job_complete", finish_reason=reason, usage=usage, metrics=metrics)

    async def cancel(self) -> None:
        if not self.ended:
            await self.append("job_cancelled", reason="client", usage=None)

    def block(self, seq: int) -> bytes:
        name, data = self.events[seq - 1]
        retry = "retry: 1000\n" if seq == 1 else ""
        return f"{retry}id: {seq}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


class Cut(Exception):
    """Raised inside a response: the server drops the connection, as a dying process does."""


class Streaming:
    """One connection that serves a job's log as its script says."""

    def __init__(self, job: Job, script: Connection, cursor: int, heartbeat: int) -> None:
        self.job, self.script, self.cursor, self.heartbeat = job, script, cursor, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"x-okome-node", b"okome-node-03"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.ensure_future(_left(receive))
        serving = asyncio.ensure_future(self._serve(send))
        await asyncio.wait({leaving, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (leaving, serving):
            task.cancel()
        results = await asyncio.gather(leaving, serving, return_exceptions=True)
        if isinstance(results[1], Cut):
            raise results[1]
        if results[1] is None:
            await send({"type": "http.response.body", "body": b""})

    async def _serve(self, send: Send) -> None:
        script, job = self.script, self.job
        if script.raw is not None:
            return await self._write(send, script.raw)
        seq = max(0, self.cursor - script.repeat)
        while script.until is None or seq < script.until:
            async with job.changed:
                while len(job.events) <= seq and not job.ended:
                    await self._wait(send)
            if len(job.events) <= seq:
                return None
            seq += 1
            await self._write(send, job.block(seq))
        if script.then == "cut":
            await self._write(send, b"id: 9")
            raise Cut
        if script.then == "nothing":
            await asyncio.Event().wait()
        return None

    async def _wait(self, send: Send) -> None:
        try:
            async with asyncio.timeout(self.heartbeat):
                await self.job.changed.wait()
        except TimeoutError:
            await self._write(send, b": keep-alive\n")

    async def _write(self, send: Send, data: bytes) -> None:
        size = self.script.piece or len(data)
        for start in range(0, len(data), size):
            await send(
                {
                    "type": "http.response.body",
                    "body": data[start : start + size],
                    "more_body": True,
                }
            )


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
