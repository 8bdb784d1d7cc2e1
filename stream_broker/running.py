"""Runs jobs: starts engines, keeps leases, watches deadlines and grace, settles.

Each running job has one task, owned here, that ends when its last event is in the log
or another broker has taken the job over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from inventory.settings import Settings
from stream_broker.engine_run import EngineRun
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.events import Event
from stream_broker.leases import LeaseKeeper
from stream_broker.live import EventWriter, LiveJob
from stream_broker.log.base import LogUnavailable, Orphan
from stream_broker.log.redis import RedisLog
from stream_broker.metrics import BrokerMetrics
from stream_broker.record import JobHead
from stream_broker.relay import Relay
from stream_broker.settlements import SettlementSpool
from stream_broker.settling import settlement_of
from stream_broker.tasks import end
from stream_broker.window import WINDOW_BYTES, Window

_LOG = logging.getLogger(__name__)

# How long the ends of jobs may take to be written and settled at a shutdown (seconds).
_LAST_FLUSH_S = 1.0
_LOG_RETRY_S = 1.0


class Runner:
    """All running jobs of this process, by id."""

    def __init__(
        self,
        settings: Settings,
        node: str,
        engines: EngineClient,
        writers: Mapping[str, EventWriter],
        leases: LeaseKeeper,
        spool: SettlementSpool,
        metrics: BrokerMetrics,
        redis_log: RedisLog | None,
        on_end: Callable[[LiveJob], Awaitable[None]],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._node = node
        self._engines = engines
        self._writers = writers
        self._leases = leases
        self._spool = spool
        self._metrics = metrics
        self._redis_log = redis_log
        self._on_end = on_end
        self._clock = clock
        self._monotonic = monotonic
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[LiveJob, asyncio.Task[None]] = {}
        self.jobs: dict[str, LiveJob] = {}

    def start(self, head: JobHead, epoch: int) -> LiveJob:
        """Begins a new job."""
        live = self._live(head, epoch, Window(WINDOW_BYTES), self._relay(head))
        if head.grant.degraded_until is not None:
            live.notice("degraded_policy", "decided by the last known policy")
        if head.durability == "none" and self._redis_log is not None:
            live.notice("not_resumable", "the event log is away: this job lives on one broker")
        self._spawn(live, head, prefix="")
        return live

    def take_over(self, orphan: Orphan, events: list[Event]) -> LiveJob:
        """Goes on with a job whose relay has died, where the text can be continued."""
        head = orphan.state.head
        relay = self._relay(head)
        text = relay.replay(events)
        whole = relay.last_seq == orphan.state.last_seq
        relay.last_seq = orphan.state.last_seq
        window = Window(WINDOW_BYTES, relay.last_seq)
        live = self._live(head, orphan.epoch, window, relay)
        if orphan.cancelled:
            live.cancel("client")
        elif not (whole and _continuable(head, relay)):
            live.fail("relay_lost", "the broker died and this answer cannot be continued")
        else:
            live.notice("relay_moved", f"continued on {self._node}")
            if relay.produced >= head.grant.limits.max_tokens:
                live.finish("length")
        self._spawn(live, head, prefix=text)
        return live

    def cancel(self, job_id: str, reason: str) -> bool:
        """Cancels a job that runs here. Returns whether it does."""
        live = self.jobs.get(job_id)
        if live is not None:
            live.cancel(reason)
        return live is not None

    def viewer_joined(self, live: LiveJob) -> None:
        """One more viewer on this broker: the grace, if it runs, is over."""
        live.viewers += 1
        _disarm(live)

    def viewer_left(self, live: LiveJob) -> None:
        """One less; the last one starts the grace."""
        live.viewers -= 1
        if live.viewers == 0:
            self._arm_grace(live)

    async def renew(self) -> None:
        """Renews the relays' leases in the log until cancelled."""
        while self._redis_log is not None:
            await asyncio.sleep(self._settings.relay_ttl / 4)
            held = [
                job_id
                for job_id, live in self.jobs.items()
                if live.head.durability != "none" and not live.window.moved
            ]
            if not held:
                continue
            try:
                await self._redis_log.renew(held)
            except LogUnavailable as error:
                _LOG.debug("relay leases not renewed: %s", error)

    async def finished(self) -> None:
        """Returns once no job runs here; the caller sets the time limit."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Hands over what still runs, or ends it where nobody could take it over."""
        for live in list(self.jobs.values()):
            if live.head.durability == "none" or self._redis_log is None:
                live.cancel("shutdown")
        ending = [run for live, run in self._runs.items() if live.terminal is not None]
        if ending:
            await asyncio.wait(ending, timeout=_LAST_FLUSH_S)
        await end(self._tasks)

    def _relay(self, head: JobHead) -> Relay:
        return Relay(
            head.job_id,
            head.created_at,
            log_max=self._settings.job_log_max,
            prompt_estimate=head.prompt_estimate,
        )

    def _live(self, head: JobHead, epoch: int, window: Window, relay: Relay) -> LiveJob:
        live = LiveJob(
            head,
            epoch,
            relay,
            window,
            self._writers[head.durability],
            clock=self._clock,
            monotonic=self._monotonic,
            buffer_max=self._settings.relay_buffer,
            max_pause=self._settings.max_pause,
        )
        self.jobs[head.job_id] = live
        return live

    def _spawn(self, live: LiveJob, head: JobHead, prefix: str) -> None:
        task = asyncio.get_running_loop().create_task(self._run(live, head, prefix))
        self._tasks.add(task)
        self._runs[live] = task
        task.add_done_callback(self._tasks.discard)

    async def _run(self, live: LiveJob, head: JobHead, prefix: str) -> None:
        grant = head.grant
        self._leases.hold(grant.lease.id)
        if live.terminal is None:
            left = head.created_at + grant.limits.deadline_s - self._clock()
            live.after(max(0.0, left), lambda: live.cancel("deadline"))
        self._arm_grace(live)
        targets = [grant.engine, *grant.fallbacks]
        call = _call(head, prefix, live.relay.produced)
        run = EngineRun(live, targets, self._engines, call)
        try:
            await run.start()
            await live.done.wait()
            await self._settle(live)
        except asyncio.CancelledError:
            live.release()
            await self._hand_over(live)
            raise
        finally:
            await run.aclose()
            self._leases.drop(grant.lease.id)
            del self._runs[live]
            if self.jobs.get(head.job_id) is live:
                del self.jobs[head.job_id]

    async def _hand_over(self, live: LiveJob) -> None:
        if self._redis_log is None or live.head.durability == "none" or live.window.ended:
            return
        try:
            await self._redis_log.release(live.head.job_id, live.epoch)
        except LogUnavailable:
            _LOG.warning("%s: not handed over, its lease will end", live.head.job_id)

    def _arm_grace(self, live: LiveJob) -> None:
        grace = live.head.grant.limits.detach_grace_s
        if grace is not None and live.viewers == 0 and live.running:
            self._arm_grace_for(live, grace)

    def _arm_grace_for(self, live: LiveJob, seconds: float) -> None:
        _disarm(live)
        live.grace = live.after(seconds, lambda: self._spawn_grace(live))

    def _spawn_grace(self, live: LiveJob) -> None:
        live.grace = None
        task = asyncio.get_running_loop().create_task(self._grace_over(live))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _grace_over(self, live: LiveJob) -> None:
        if live.viewers or not live.running:
            return
        if self._redis_log is not None and live.head.durability != "none":
            try:
                left = await self._redis_log.seen_for(live.head.job_id)
            except LogUnavailable:
                left = _LOG_RETRY_S
            if live.viewers or live.grace is not None:
                return
            if left > 0:
                self._arm_grace_for(live, left)
                return
        live.cancel("disconnect")

    async def _settle(self, live: LiveJob) -> None:
        """Reports the end, once, by whoever wrote it."""
        if live.terminal is None or live.fenced:
            return
        self._metrics.job_ended(live.terminal.name, live.head.kind, live.terminal.body())
        settlement = settlement_of(
            live.head,
            live.terminal,
            node=self._node,
            first_token_at=live.relay.gaps.first,
            ended_at=live.ended_at or self._clock(),
        )
        self._spool.add(settlement)
        await self._on_end(live)


def _call(head: JobHead, prefix: str, produced: int) -> EngineCall:
    members = dict(head.call)
    members["stop"] = tuple(members.get("stop", ()))
    return EngineCall(
        model=head.grant.engine.model,
        max_tokens=max(1, head.grant.limits.max_tokens - produced),
        prefix=prefix,
        **members,
    )


def _disarm(live: LiveJob) -> None:
    if live.grace is not None:
        live.grace.cancel()
        live.grace = None


def _continuable(head: JobHead, relay: Relay) -> bool:
    """May the text be continued from its prefix (CONTRACT, promise 4)?"""
    guided = head.call.get("tools") or head.call.get("response_format")
    return not (guided or relay.tool_calls or relay.reasoned)
