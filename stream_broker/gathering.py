"""Waits for the end of a job and gathers its log, for callers that want it whole."""

from __future__ import annotations

import asyncio

from stream_broker.events import Event
from stream_broker.log.base import LogUnavailable
from stream_broker.serving import LOG_PATIENCE_S, Find
from stream_broker.watch import Watch

_LOG_RETRY_S = 0.2
_WAIT_S = 60.0


class Gathering:
    """One caller that waits. `find(cursor)` opens a watch where the job is by then."""

    def __init__(self, watch: Watch, find: Find) -> None:
        self._watch = watch
        self._find = find
        self.gone = False

    async def events(self) -> list[Event]:
        """The whole log, or what was lost of it as its last event; less if the caller left.

        Follows the job to another relay. Raises LogUnavailable, LogExpired, ProblemError.
        """
        events: list[Event] = []
        try:
            while not self.gone:
                feed = self._watch.feed
                try:
                    events += await feed.next(_WAIT_S)
                except LogUnavailable:
                    await self._look_for_job(len(events))
                    continue
                if feed.ended:
                    return events + ([feed.failure] if feed.failure else [])
                if self._watch.window.moved:
                    await self._look_for_job(len(events))
            return events
        finally:
            self._watch.close()

    def leave(self) -> None:
        """The caller has gone."""
        self.gone = True
        self._watch.close()

    async def _look_for_job(self, cursor: int) -> None:
        self._watch.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOG_PATIENCE_S
        while not self.gone:
            try:
                self._watch = await self._find(cursor)
                return
            except LogUnavailable:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(_LOG_RETRY_S)
