"""What follows the end of a job: it is counted, settled and remembered, once.

A job that has ended stays with the log's relays until its settlement is in a spool, so
that one whose broker dies in between is settled by another. Sooner twice than never: the
control plane takes one settlement of a job.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from stream_broker.events import Event
from stream_broker.lines import ended
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog, LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.metrics import BrokerMetrics
from stream_broker.record import JobHead, JobState
from stream_broker.settlements import SettlementSpool
from stream_broker.settling import bounded_text, session_of, settlement_of
from stream_broker.text import text_of

_LOG = logging.getLogger(__name__)


class Ending:
    """Reports the ends of this broker's jobs. `on_end` hears of each; `clock` is Unix time;
    `shared` is the log that others could take jobs over from, where there is one."""

    def __init__(
        self,
        node: str,
        spool: SettlementSpool,
        metrics: BrokerMetrics,
        on_end: Callable[[LiveJob], Awaitable[None]],
        clock: Callable[[], float],
        shared: RedisLog | None,
    ) -> None:
        self._node = node
        self._spool = spool
        self._metrics = metrics
        self._on_end = on_end
        self._clock = clock
        self._shared = shared
        self._settled: set[str] = set()

    async def settle(self, live: LiveJob, log: EventLog) -> None:
        """Reports the end, once, by whoever wrote it."""
        if live.terminal is None or live.fenced:
            return
        head, end = live.head, live.terminal
        self._metrics.job_ended(end.name, head.kind, head.model, end.body(), head.job_id)
        settlement = settlement_of(
            live.head,
            live.terminal,
            engine=live.head.grant.targets[live.engine].kind,
            node=self._node,
            first_token_at=live.relay.gaps.first,
            ended_at=live.ended_at or self._clock(),
            final_text=await self._final_text(live.head, live.window.durable, log),
        )
        self._spool.add(settlement)
        _LOG.info("ended", extra=ended(live.job_id, live.terminal))
        # Where the log has no end of it, somebody still has to write one.
        if log is self._shared and live.window.ended:
            self._settled.add(live.job_id)
        await self._on_end(live)

    async def settle_for(self, state: JobState, log: EventLog) -> None:
        """Reports the end that a broker has written which died before it could report it."""
        assert state.end_name is not None  # noqa: S101  # it has ended
        settlement = settlement_of(
            state.head,
            Event(state.last_seq, state.end_name, msgspec.json.encode(state.end)),
            engine=state.head.grant.targets[state.engine].kind,
            node=self._node,
            first_token_at=state.first_token_at,
            ended_at=state.ended_at or self._clock(),
            final_text=await self._final_text(state.head, state.last_seq, log),
        )
        self._spool.add(settlement)
        self._settled.add(state.head.job_id)
        await self.say_settled()

    async def say_settled(self) -> bool:
        """Lets go of the jobs that are in the spool. Returns whether the log heard it."""
        told = list(self._settled)
        if self._shared is None or not told:
            return True
        try:
            await self._shared.settled(told)
        except LogUnavailable as error:
            _LOG.debug("settled jobs are not let go of: %s", error)
            return False
        self._settled.difference_update(told)
        return True

    async def _final_text(self, head: JobHead, last: int, log: EventLog) -> str | None:
        """The answer, for a session that keeps it; a log that does not answer keeps it back."""
        if session_of(head) is None:
            return None
        try:
            text = await text_of(log, head.job_id, last)
        except LogUnavailable as error:
            _LOG.warning("%s: settled without its text: %s", head.job_id, error)
            return None
        return None if text is None else bounded_text(text)
