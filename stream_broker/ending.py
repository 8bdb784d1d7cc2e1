"""What follows the end of a job: it is counted, settled and remembered, once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog, LogUnavailable
from stream_broker.metrics import BrokerMetrics
from stream_broker.settlements import SettlementSpool
from stream_broker.settling import bounded_text, session_of, settlement_of
from stream_broker.text import text_of

_LOG = logging.getLogger(__name__)


class Ending:
    """Reports the ends of this broker's jobs. `on_end` hears of each; `clock` is Unix time."""

    def __init__(
        self,
        node: str,
        spool: SettlementSpool,
        metrics: BrokerMetrics,
        on_end: Callable[[LiveJob], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._spool = spool
        self._metrics = metrics
        self._on_end = on_end
        self._clock = clock

    async def settle(self, live: LiveJob, log: EventLog) -> None:
        """Reports the end, once, by whoever wrote it."""
        if live.terminal is None or live.fenced:
            return
        self._metrics.job_ended(live.terminal.name, live.head.kind, live.terminal.body())
        settlement = settlement_of(
            live.head,
            live.terminal,
            engine=live.head.grant.targets[live.engine].kind,
            node=self._node,
            first_token_at=live.relay.gaps.first,
            ended_at=live.ended_at or self._clock(),
            final_text=await self._final_text(live, log),
        )
        self._spool.add(settlement)
        await self._on_end(live)

    async def _final_text(self, live: LiveJob, log: EventLog) -> str | None:
        """The answer, for a session that keeps it; a log that does not answer keeps it back."""
        if session_of(live.head) is None:
            return None
        try:
            text = await text_of(log, live.head.job_id, live.window.durable)
        except LogUnavailable as error:
            _LOG.warning("%s: settled without its text: %s", live.head.job_id, error)
            return None
        return None if text is None else bounded_text(text)
