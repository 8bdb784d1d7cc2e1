"""Follows the jobs of one home that other brokers relay: one blocking read for all.

A process holds one tail, and so one connection, per home worker that it has viewers or
relays of, whatever their number: a read over keys of several slots is refused by
Redis Cluster, and a connection per viewer is what drowns others (lessons, 15).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from stream_broker.events import EventEncoder
from stream_broker.log.base import LogUnavailable
from stream_broker.log.keys import Keys
from stream_broker.log.redis import event_of
from stream_broker.log.store import translated
from stream_broker.tasks import end
from stream_broker.window import Window

_LOG = logging.getLogger(__name__)
_BLOCK_MS = 2000
_COUNT = 512
_RETRY_S = 0.2

OnCancel = Callable[[str, str], object]


class Tail:
    """Feeds the windows of followed jobs under one hash tag.

    `redis` waits longer than a blocking read lasts; `commands` is for everything else;
    `on_cancel(job_id, reason)` hears what is said on the home's control stream.
    """

    def __init__(
        self, redis: Any, commands: Any, keys: Keys, process: str, on_cancel: OnCancel
    ) -> None:
        self._redis = redis
        self._commands = commands
        self._keys = keys
        self._process = process
        self._on_cancel = on_cancel
        self._windows: dict[str, Window] = {}
        self._wake_id = "0"
        # From the oldest: a cancellation of a job that is not here, or has ended, does nothing.
        self._control_id = "0"
        self._loop_task: asyncio.Task[None] | None = None
        self._wakers: set[asyncio.Task[None]] = set()

    def follow(self, job_id: str, last: int, limit: int) -> Window:
        """A window that goes on from `last`; the same one for all who follow the job."""
        window = self._windows.get(job_id)
        if window is None:
            window = self._windows[job_id] = Window(limit, last)
            self._interrupt()
        return window

    def unfollow(self, job_id: str) -> None:
        """Stops reading a job's stream. What was read under way is dropped."""
        self._windows.pop(job_id, None)

    @property
    def following(self) -> list[str]:
        """Jobs that are followed now."""
        return list(self._windows)

    async def run(self) -> None:
        """Reads until cancelled; errors are waited out."""
        try:
            await self._run()
        finally:
            await end(self._wakers)

    async def _run(self) -> None:
        lost = False
        while True:
            try:
                if lost:
                    await self._check_records()
                    lost = False
                await self._read_once()
            except Exception as error:
                # A fault of ours is waited out too: all viewers of this home hang on it.
                if not lost:
                    fault = None if isinstance(error, LogUnavailable) else error
                    _LOG.warning(
                        "the log of %s does not answer: %s", self._keys.tag, error, exc_info=fault
                    )
                lost = True
                await asyncio.sleep(_RETRY_S)

    async def _read_once(self) -> None:
        log_keys = {self._keys.log(job_id): job_id for job_id in self._windows}
        streams: dict[str, str] = {
            self._keys.wake(self._process): self._wake_id,
            self._keys.control: self._control_id,
        }
        for key, job_id in log_keys.items():
            streams[key] = f"{self._windows[job_id].last}-0"
        async with translated():
            reply = await self._redis.xread(streams, count=_COUNT, block=_BLOCK_MS)
        for raw_key, entries in _pairs(reply):
            key = raw_key.decode()
            if key in log_keys:
                self._feed(log_keys[key], entries)
            elif key == self._keys.control:
                self._control_id = entries[-1][0].decode()
                for _, fields in entries:
                    self._on_cancel(fields[b"job"].decode(), fields[b"reason"].decode())
            else:
                self._wake_id = entries[-1][0].decode()

    def _feed(self, job_id: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        window = self._windows.get(job_id)
        if window is None:
            return
        events = [event_of(entry_id, fields) for entry_id, fields in entries]
        fresh = [event for event in events if event.seq > window.last]
        if not fresh or fresh[0].seq != window.last + 1:
            # Read for a window that was here before; the next read begins where this one is.
            return
        window.append(fresh)
        window.advance(window.last)
        if window.ended:
            self.unfollow(job_id)

    async def _check_records(self) -> None:
        """After an outage: a job whose record is gone was lost with its store."""
        for job_id, window in list(self._windows.items()):
            async with translated():
                known = await self._commands.exists(self._keys.job(job_id))
            if not known:
                self.unfollow(job_id)
                members = {
                    "code": "log_unavailable",
                    "message": "the log of this job was lost",
                    "retryable": True,
                    "usage": None,
                }
                encoder = EventEncoder(job_id)
                window.abandon(encoder.other(window.durable + 1, "job_error", members))

    def _interrupt(self) -> None:
        """Makes the blocking read return and start anew with the jobs of now."""
        task = asyncio.get_running_loop().create_task(self._write_wake())
        self._wakers.add(task)
        task.add_done_callback(self._wakers.discard)

    async def _write_wake(self) -> None:
        key = self._keys.wake(self._process)
        try:
            async with translated(), self._commands.pipeline(transaction=False) as pipe:
                pipe.xadd(key, {"w": "1"}, maxlen=1, approximate=False)
                pipe.expire(key, 60)
                await pipe.execute()
        except LogUnavailable:
            # The read is failing too, and starts anew with the jobs of then.
            return


def _pairs(reply: Any) -> Any:
    """XREAD's reply as (key, entries) pairs, in RESP2's form and in RESP3's."""
    if isinstance(reply, dict):
        return [
            (key, value[0] if value and isinstance(value[0], list) else value)
            for key, value in reply.items()
        ]
    return reply or []
