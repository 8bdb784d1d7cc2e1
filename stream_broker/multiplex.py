"""Writes the logs of many jobs to one WebSocket, in turns.

Nothing is queued per job: what may be shown is written in the same turn of the loop
while the client takes it, and read again from window or log when it has taken enough. So
what waits is bounded whatever the client does: by the connection's buffer and one turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import msgspec

from contracts.problems import ProblemError
from stream_broker.events import Event
from stream_broker.feed import LogExpired
from stream_broker.log.base import LogUnavailable
from stream_broker.measures import Delivery
from stream_broker.patience import Patience
from stream_broker.watch import Watch

REPLIES_MAX = 64
# Bytes of one job's events per turn: 32 jobs of these make the 256 KiB of the contract.
TURN_BYTES = 8 << 10
_LOG_RETRY_S = 0.2

_encode = msgspec.json.encode

Find = Callable[[str, int], Awaitable[Watch]]
Deliver = Callable[[Watch, int], Delivery]


class MessageConnection(Protocol):
    """What a multiplex needs of its client's connection."""

    full: bool

    def write_messages(self, messages: list[bytes]) -> None:
        """Sends text messages, or queues them when the client is slow."""

    def unsent(self) -> int:
        """Bytes that the client has not taken."""


class GivenUp(Exception):
    """The client has taken nothing for as long as it may."""


class _Place:
    """How far one job has been written."""

    __slots__ = ("cursor", "delivery", "listener", "watch")

    def __init__(
        self, watch: Watch, cursor: int, listener: Callable[[], None], delivery: Delivery | None
    ) -> None:
        self.watch = watch
        self.cursor = cursor
        self.delivery = delivery
        self.listener = listener
        watch.window.listen(listener)

    def close(self) -> None:
        if self.delivery is not None:
            self.delivery.fold()
        self.watch.window.unlisten(self.listener)
        self.watch.close()


class Multiplex:
    """One connection's jobs. `find(job_id, cursor)` opens a watch where the job is now.

    `run` is the one task that writes what has to be waited for; it ends with the reason
    for which the connection has to end: `gone`, `drained` or `send_timeout`. `deliver` makes
    what measures how a job is served.
    """

    def __init__(
        self,
        connection: MessageConnection,
        find: Find,
        send_timeout: float,
        deliver: Deliver | None = None,
    ) -> None:
        self._connection = connection
        self._find = find
        self._deliver = deliver
        self._now = asyncio.get_running_loop().time
        self.delivered = 0
        self._patience = Patience(send_timeout)
        self._places: dict[str, _Place] = {}
        self._replies: asyncio.Queue[bytes] = asyncio.Queue(REPLIES_MAX)
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._turning = False
        self._end: str | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._places

    @property
    def lag(self) -> int:
        """See Drainable: of the job that is furthest behind."""
        places = self._places.values()
        return max((max(0, p.watch.window.shown - p.cursor) for p in places), default=0)

    async def reply(self, message: bytes) -> None:
        """Queues a message that is not of a log; waits while REPLIES_MAX are queued."""
        await self._replies.put(message)
        self._more.set()

    def put(self, job_id: str, watch: Watch, cursor: int) -> None:
        """Serves a job from `cursor` on, in place of what was served of it so far."""
        before = self._places.get(job_id)
        self.detach(job_id)
        delivery = before.delivery if before is not None and before.cursor == cursor else None
        if delivery is None and self._deliver is not None:
            delivery = self._deliver(watch, cursor)
        listener = partial(self._job_moved, job_id)
        self._places[job_id] = _Place(watch, cursor, listener, delivery)
        self._more.set()

    def detach(self, job_id: str) -> None:
        """Serves a job no more."""
        place = self._places.pop(job_id, None)
        if place is not None:
            place.close()

    def close(self) -> None:
        """Lets go of every job."""
        for job_id in list(self._places):
            self.detach(job_id)

    def drain(self) -> None:
        """Ends between two messages."""
        self._stop("drained")

    def cut(self) -> None:
        """Ends at once."""
        self._stop("gone")

    def gone(self) -> None:
        """See `Taker`."""
        self._stop("gone")

    def writable(self) -> None:
        """See `Taker`."""
        self._patience.end()
        self._writable.set()
        self._more.set()

    async def run(self) -> str:
        """Writes until the connection has to end. Returns why."""
        try:
            while self._end is None:
                self._more.clear()
                if not await self._turn():
                    await self._more.wait()
        except GivenUp:
            self._end = "send_timeout"
        return self._end

    def _stop(self, why: str) -> None:
        self._end = self._end or why
        self._writable.set()
        self._more.set()

    def _job_moved(self, job_id: str) -> None:
        """The hot path: a job has something to show."""
        place = self._places.get(job_id)
        if place is None:
            return
        ready = not (self._turning or self._connection.full or self._replies.qsize())
        if ready:
            self._write_some(job_id, place)
        elif self._connection.full and place.delivery is not None:
            place.delivery.pause()
        if place.cursor < place.watch.window.shown or _at_end(place):
            self._more.set()

    async def _turn(self) -> bool:
        """Replies first, then a few events of each job. Returns whether there was any."""
        self._turning = True
        try:
            busy = await self._write_replies()
            for job_id, place in list(self._places.items()):
                await self._room()
                if self._end is None and self._places.get(job_id) is place:
                    busy |= await self._serve(job_id, place)
            return busy
        finally:
            self._turning = False

    async def _write_replies(self) -> bool:
        busy = False
        while self._end is None and not self._replies.empty():
            await self._room()
            self._connection.write_messages([self._replies.get_nowait()])
            busy = True
        return busy

    async def _serve(self, job_id: str, place: _Place) -> bool:
        """A few events of one job, and its end. Returns whether there was anything."""
        try:
            if place.cursor + 1 < place.watch.window.first:
                events = await place.watch.read(place.cursor, TURN_BYTES)
                if self._places.get(job_id) is place:
                    self._write(job_id, place, events)
                busy = True
            else:
                busy = self._write_some(job_id, place)
        except LogUnavailable:
            self._try_again_later()
            return False
        except LogExpired:
            problem = ProblemError("log_expired", "The log of this job has expired")
            self._fail(job_id, place, problem)
            return True
        return await self._finish(job_id, place) or busy

    async def _finish(self, job_id: str, place: _Place) -> bool:
        """Lets go of a job that has been served to its end. Returns whether it has been."""
        window = place.watch.window
        if not _at_end(place) or self._places.get(job_id) is not place:
            return False
        if not window.ended and window.failure is None:
            return await self._follow(job_id, place)
        if not window.ended and window.failure is not None:
            self._connection.write_messages([message(job_id, window.failure, in_log=False)])
        self.detach(job_id)
        return True

    async def _follow(self, job_id: str, place: _Place) -> bool:
        """The relay has moved: serve the job from where it is now, if that can be told."""
        try:
            watch = await self._find(job_id, place.cursor)
        except LogUnavailable:
            self._try_again_later()
            return False
        except ProblemError as problem:
            self._fail(job_id, place, problem)
            return True
        if self._places.get(job_id) is place:
            self.put(job_id, watch, place.cursor)
        else:
            watch.close()
        return True

    def _fail(self, job_id: str, place: _Place, problem: ProblemError) -> None:
        """Tells why a job is served no more, unless it is served from elsewhere by now."""
        if self._places.get(job_id) is place:
            told = {"event": "error", "job_id": job_id, "data": problem.body()}
            self._connection.write_messages([_encode(told)])
            self.detach(job_id)

    def _write_some(self, job_id: str, place: _Place) -> bool:
        events = place.watch.window.read(place.cursor, TURN_BYTES)
        if events:
            self._write(job_id, place, events)
        return bool(events)

    def _write(self, job_id: str, place: _Place, events: list[Event]) -> None:
        self._connection.write_messages([message(job_id, event) for event in events])
        last = events[-1]
        self.delivered += last.seq - place.cursor
        place.cursor = last.seq
        if place.delivery is not None:
            place.delivery.frame(last, self._now())

    async def _room(self) -> None:
        """Returns once more may be written, or the connection ends. Raises GivenUp."""
        loop = asyncio.get_running_loop()
        while self._connection.full and self._end is None:
            now = loop.time()
            again = self._patience.look(now, self._connection.unsent())
            if again <= now:
                raise GivenUp
            self._writable.clear()
            timer = loop.call_at(again, self._writable.set)
            await self._writable.wait()
            timer.cancel()

    def _try_again_later(self) -> None:
        asyncio.get_running_loop().call_later(_LOG_RETRY_S, self._more.set)


def _at_end(place: _Place) -> bool:
    """Nothing more will come from this watch."""
    window = place.watch.window
    if window.ended:
        return place.cursor >= window.last
    if window.failure is not None:
        return place.cursor >= window.durable
    return window.moved and place.cursor >= window.shown


def message(job_id: str, event: Event, *, in_log: bool = True) -> bytes:
    """One event as one message; `data` is the log's bytes, spliced in unchanged."""
    seq = b'"seq":%d,' % event.seq if in_log else b""
    return b'{"job_id":%b,%b"event":"%b","data":%b}' % (
        _encode(job_id),
        seq,
        event.name.encode(),
        event.data,
    )
