"""Records whose making was never answered: what became of them is settled once the log answers.

The log may have taken such a record all the same. Left to itself it would be taken over,
and run for nobody; and what its grant had reserved would be held until it expires.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from contracts.grants import Settlement, Usage
from stream_broker.ids import Home, new_job_id
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.record import JobHead
from stream_broker.settlements import SettlementSpool

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.5
_MOST = 4096


@dataclass(frozen=True, slots=True)
class _Entry:
    head: JobHead
    claimed: bool


class Abandoned:
    """The unanswered records of one broker. `clock` gives Unix seconds."""

    def __init__(
        self,
        log: RedisLog,
        spool: SettlementSpool,
        home: Home,
        node: str,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._spool = spool
        self._home = home
        self._node = node
        self._clock = clock
        self._left: deque[_Entry] = deque(maxlen=_MOST)
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._left)

    def replaced(self, head: JobHead) -> None:
        """Its request is served under another id, by the same grant."""
        self._add(_Entry(head, claimed=False))

    def refused(self, head: JobHead) -> None:
        """Its request was refused; a repetition with its key will find the record, if any."""
        self._add(_Entry(head, claimed=True))

    async def run(self) -> None:
        """Looks after them until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._left:
                try:
                    await self._resolve(self._left[0])
                except LogUnavailable:
                    await asyncio.sleep(_RETRY_S)
                else:
                    self._left.popleft()

    def _add(self, entry: _Entry) -> None:
        self._left.append(entry)
        self._wake.set()

    async def _resolve(self, entry: _Entry) -> None:
        head = entry.head
        if not entry.claimed:
            if not await self._log.discard(head.job_id):
                # Somebody runs it already.
                await self._log.request_cancel(head.job_id, "disconnect")
            return
        state = await self._log.state(head.job_id)
        if state is None or state.head.grant.grant_id != head.grant.grant_id:
            _LOG.info("%s: its grant is given back", head.job_id)
            self._spool.add(self._unused(head))

    def _unused(self, head: JobHead) -> Settlement:
        """Under an id of its own: a repetition may yet run, and settle, the job itself."""
        now = self._clock()
        return Settlement(
            job_id=new_job_id(self._home, now, os.urandom(10)),
            grant_id=head.grant.grant_id,
            lease_id=head.grant.lease.id,
            user_id=head.user_id,
            model=head.model,
            engine=head.grant.engine.kind,
            node=self._node,
            outcome="failed",
            code="log_unavailable",
            usage=Usage(),
            created_at=head.created_at,
            first_token_at=None,
            ended_at=now,
        )
