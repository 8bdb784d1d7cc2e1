"""The parts that a job is made of while it runs here, and what all jobs of a process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inventory.settings import Settings
from stream_broker.alarms import Alarms
from stream_broker.backlog import Backlog, Share
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.writer import Writer
from stream_broker.metrics import BrokerMetrics
from stream_broker.record import JobHead
from stream_broker.relay import Relay
from stream_broker.rounds import rounds_of
from stream_broker.tenure import Tenure
from stream_broker.window import WINDOW_BYTES, Room, Window


class JobParts:
    """Makes them. `backlog` bounds what all relays hold, `room` what all windows do."""

    def __init__(
        self,
        settings: Settings,
        writers: Mapping[str, Writer],
        memory: EventLog,
        redis_log: RedisLog | None,
        metrics: BrokerMetrics,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._writers = writers
        self._memory = memory
        self._redis_log = redis_log
        self._clock = clock
        self._monotonic = monotonic
        self.alarms = Alarms()
        self.backlog = Backlog(settings.relay_buffer, metrics.engine_paused)
        self.room = Room()

    def log(self, head: JobHead) -> EventLog:
        """Where its events are kept."""
        if head.durability == "none" or self._redis_log is None:
            return self._memory
        return self._redis_log

    def relay(self, head: JobHead) -> Relay:
        """What numbers its events and says when it is over."""
        limits = head.grant.limits
        return Relay(
            head.job_id,
            head.created_at,
            log_max=self._settings.job_log_max,
            prompt_estimate=head.prompt_estimate,
            quota_limit=limits.max_tokens if limits.quota_limited else None,
            rounds=rounds_of(head),
        )

    def live(self, head: JobHead, epoch: int, relay: Relay, leased_at: float | None) -> LiveJob:
        """The job as it runs here. `leased_at`: when its lease was asked for, None: now."""
        leased_at = self._monotonic() if leased_at is None else leased_at
        shared = head.durability != "none"
        return LiveJob(
            head,
            epoch,
            relay,
            Window(WINDOW_BYTES, relay.last_seq, self.room),
            self._writers[head.durability],
            clock=self._clock,
            monotonic=self._monotonic,
            share=Share(self.backlog),
            max_pause=self._settings.max_pause,
            alarms=self.alarms,
            tenure=Tenure(self._settings.relay_ttl, leased_at) if shared else None,
        )
