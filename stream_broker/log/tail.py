"""Follows the jobs of one home that other brokers relay: one blocking read for all.

A process holds one tail, and so one connection, per home worker that it has viewers or
relays of, whatever their number: a read over keys of several slots is refused by
Redis Cluster, and a connection per viewer is what drowns others (lessons, 15).

What was read is shown once replicas have it: a read may see what no replica has yet
(`log/reading.py`), so behind each one that brought events stands a WAIT of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import hiredis

from stream_broker.events import EventEncoder
from stream_broker.log.appending import wait
from stream_broker.log.base import LogUnavailable, Unacknowledged
from stream_broker.log.keys import Keys
from stream_broker.log.link import Link
from stream_broker.log.reading import event_of
from stream_broker.log.resp import encode
from stream_broker.log.store import passing
from stream_broker.log.stores import COMMAND_TIMEOUT_S, Stores
from stream_broker.tasks import end
from stream_broker.window import Room, Window

_LOG = logging.getLogger(__name__)
_BLOCK_MS = 2000
_COUNT = 512
_RETRY_S = 0.1
# Where each connection begins to read what brokers tell each other: a wake that is read twice
# does nothing, nor does a cancellation of a job that is not here, or has ended.
_OLDEST = "0"

OnCancel = Callable[[str, str], object]
Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Tail:
    """Feeds the windows of followed jobs under one hash tag.

    `on_cancel(job_id, reason)` hears what is said on the home's control stream.
    """

    def __init__(self, stores: Stores, keys: Keys, process: str, on_cancel: OnCancel) -> None:
        self._stores = stores
        self._keys = keys
        self._process = process
        self._on_cancel = on_cancel
        self._windows: dict[str, Window] = {}
        # Of these it is not known whether the store that the link leads to has them at all:
        # it may have come back empty after somebody had read that they were there.
        self._unchecked: set[str] = set()
        self._room = Room()
        self._wake_id = self._control_id = _OLDEST
        self._link: Link | None = None
        self._wakers: set[asyncio.Task[None]] = set()

    def follow(self, job_id: str, last: int, limit: int) -> Window:
        """A window that goes on from `last`; the same one for all who follow the job."""
        window = self._windows.get(job_id)
        if window is None:
            window = self._windows[job_id] = Window(limit, last, self._room)
            self._unchecked.add(job_id)
            self._room.share(len(self._windows))
            self._interrupt()
        return window

    def unfollow(self, job_id: str) -> None:
        """Stops reading a job's stream. What was read under way is dropped."""
        self._windows.pop(job_id, None)
        self._unchecked.discard(job_id)
        self._room.share(len(self._windows))

    @property
    def following(self) -> list[str]:
        """Jobs that are followed now."""
        return list(self._windows)

    async def run(self) -> None:
        """Reads until cancelled; errors are waited out."""
        try:
            await self._run()
        finally:
            self._hang_up()
            await end(self._wakers)

    async def _run(self) -> None:
        lost = False
        while True:
            try:
                await self._read_once()
                lost = False
            except Unacknowledged:
                # The same is read again, and asked for again: WAIT has taken its time.
                _LOG.debug("%s: not enough replicas answer", self._keys.tag)
            except Exception as error:
                # A fault of ours is waited out too: all viewers of this home hang on it.
                self._hang_up()
                self._stores.suspect(self._keys.tag)
                if not lost:
                    fault = None if isinstance(error, LogUnavailable) else error
                    _LOG.warning(
                        "the log of %s does not answer: %s", self._keys.tag, error, exc_info=fault
                    )
                lost = True
                await asyncio.sleep(_RETRY_S)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _read_once(self) -> None:
        if self._link is None or self._link.closed:
            self._link = await self._stores.link(self._keys.tag)
            self._unchecked.update(self._windows)
            # One that came back empty, with its clock behind, counts from further back.
            self._wake_id = self._control_id = _OLDEST
        if self._unchecked:
            await self._check_records(self._link)
        log_keys = {self._keys.log(job_id).encode(): job_id for job_id in self._windows}
        read: list[tuple[str, Entries]] = []
        for key, entries in await self._xread(self._link, log_keys):
            if key in log_keys:
                read.append((log_keys[key], entries))
            elif key == self._keys.control.encode():
                self._control_id = entries[-1][0].decode()
                for _, fields in entries:
                    self._on_cancel(fields[b"job"].decode(), fields[b"reason"].decode())
            else:
                self._wake_id = entries[-1][0].decode()
        if read and self._stores.acks:
            await self._confirm(self._link)
        for job_id, entries in read:
            self._feed(job_id, entries)

    async def _xread(self, link: Link, log_keys: dict[bytes, str]) -> list[tuple[bytes, Entries]]:
        keys = self._keys
        names = [keys.wake(self._process).encode(), keys.control.encode(), *log_keys]
        after = [self._wake_id.encode(), self._control_id.encode()]
        after += [b"%d-0" % self._windows[job_id].last for job_id in log_keys.values()]
        count, block = b"%d" % _COUNT, b"%d" % _BLOCK_MS
        command = encode(b"XREAD", b"COUNT", count, b"BLOCK", block, b"STREAMS", *names, *after)
        (reply,) = await link.call(command, 1, _BLOCK_MS / 1000 + COMMAND_TIMEOUT_S)
        _refuse(reply)
        return [
            (key, [(entry_id, dict(zip(f[::2], f[1::2], strict=True))) for entry_id, f in entries])
            for key, entries in reply or ()
        ]

    async def _confirm(self, link: Link) -> None:
        """On the connection of the read, after a write: so all that was read is covered."""
        acks = self._stores.acks
        touch = encode(b"SET", self._keys.touched.encode(), b"1")
        replies = await link.call(touch + wait(acks), 2, COMMAND_TIMEOUT_S)
        for reply in replies:
            _refuse(reply)
        if replies[1] < acks:
            raise Unacknowledged("too few replicas have what was read")

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

    async def _check_records(self, link: Link) -> None:
        """A job whose record, or end, is gone was lost with its store, and is never read of.
        Nor is one whose log has just expired: its viewers look for it again, and are told."""
        jobs = tuple(self._unchecked)
        asked = b"".join([self._ask_for(job_id) for job_id in jobs])
        replies = await link.call(asked, 2 * len(jobs), COMMAND_TIMEOUT_S)
        for job_id, last, there in zip(jobs, replies[::2], replies[1::2], strict=True):
            _refuse(last)
            _refuse(there)
            window = self._windows.get(job_id)
            self._unchecked.discard(job_id)
            if window is None:
                continue
            if last is None or int(last) < window.last:
                self._abandon(job_id, window)
            elif int(last) > window.last and not there:
                self.unfollow(job_id)
                window.move()

    def _ask_for(self, job_id: str) -> bytes:
        record, log = self._keys.job(job_id).encode(), self._keys.log(job_id).encode()
        return encode(b"HGET", record, b"last_seq") + encode(b"EXISTS", log)

    def _abandon(self, job_id: str, window: Window) -> None:
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

        async def write(redis: Any) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.xadd(key, {"w": "1"}, maxlen=1, approximate=False)
                pipe.expire(key, 60)
                await pipe.execute()

        try:
            await self._stores.ask(self._keys.tag, write)
        except LogUnavailable:
            # The read is failing too, and starts anew with the jobs of then.
            return


def _refuse(reply: Any) -> None:
    """Raises what an error reply says: LogUnavailable, or a fault of ours."""
    if isinstance(reply, hiredis.ReplyError):
        raise LogUnavailable(str(reply)) if passing(str(reply)) else reply
