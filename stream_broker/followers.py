"""Windows on jobs that other brokers relay, shared by all viewers here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from stream_broker.ids import home_of
from stream_broker.log.base import LogUnavailable
from stream_broker.log.keys import Keys, KeySpace
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import Stores
from stream_broker.log.tail import OnCancel, Tail
from stream_broker.tasks import end
from stream_broker.window import WINDOW_BYTES, Window

_LOG = logging.getLogger(__name__)

# How often a broker says that it has viewers of a job (seconds).
SEEN_EVERY_S = 5.0


class Followers:
    """Opens a tail per home when it is first needed and keeps it.

    `on_cancel` hears of cancellations.
    """

    def __init__(
        self,
        keys: KeySpace,
        log: RedisLog,
        stores: Stores,
        process: str,
        on_cancel: OnCancel,
    ) -> None:
        self._keys = keys
        self._log = log
        self._stores = stores
        self._process = process
        self._on_cancel = on_cancel
        self._tails: dict[Keys, Tail] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._viewers: dict[str, int] = {}
        self._spans: dict[str, float] = {}
        self._first_came = asyncio.Event()

    def listen(self, tag: str) -> Tail:
        """The tail of a home; started when there is none yet."""
        keys = Keys(tag)
        tail = self._tails.get(keys)
        if tail is None:
            tail = Tail(self._stores, keys, self._process, self._on_cancel)
            self._tails[keys] = tail
            self._tasks.append(asyncio.get_running_loop().create_task(tail.run()))
        return tail

    def open(self, job_id: str, last: int, grace: float | None) -> Window:
        """The window of a job that another broker relays, for one more viewer.

        `grace`: seconds for which the relay is to go on after the last of them has gone.
        """
        window = self._tail_of(job_id).follow(job_id, last, WINDOW_BYTES)
        self._viewers[job_id] = self._viewers.get(job_id, 0) + 1
        if grace is not None and job_id not in self._spans:
            self._spans[job_id] = grace + SEEN_EVERY_S
            self._first_came.set()
        return window

    def close(self, job_id: str) -> None:
        """One viewer less; the last one ends the following."""
        self._viewers[job_id] -= 1
        if not self._viewers[job_id]:
            del self._viewers[job_id]
            self._spans.pop(job_id, None)
            self._tail_of(job_id).unfollow(job_id)

    async def run(self) -> None:
        """Tells the relays, until cancelled, that their jobs have viewers here.

        At once of a first viewer: the job's grace may be about to end.
        """
        while True:
            self._first_came.clear()
            if self._spans:
                try:
                    await self._log.mark_seen(dict(self._spans))
                except LogUnavailable as error:
                    _LOG.debug("viewers not told: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(SEEN_EVERY_S):
                    await self._first_came.wait()

    async def aclose(self) -> None:
        """Ends the tails and their connections."""
        await end(self._tasks)

    def _tail_of(self, job_id: str) -> Tail:
        home = home_of(job_id)
        keys = self._keys.of_job(job_id)
        if keys is None:
            raise LogUnavailable(f"no home {home} in this cluster")
        return self.listen(keys.tag)
