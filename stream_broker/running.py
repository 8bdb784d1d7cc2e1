"""Runs jobs: starts engines, keeps leases, watches deadlines and grace, settles.

A job has a task here while it begins and while it ends, and none in between: its engine's
bytes and its deadline move it. It ends when its last event is in the log or another
broker has taken it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from contracts.grants import EngineTarget, Grant
from inventory.settings import Settings
from observability.logs import bound, user_mark
from stream_broker.continuing import lost
from stream_broker.ending import Ending
from stream_broker.engine_run import EngineRun, call_of
from stream_broker.engines.client import EngineClient
from stream_broker.events import Event
from stream_broker.grace import Grace
from stream_broker.job_parts import JobParts
from stream_broker.leases import LeaseKeeper
from stream_broker.lines import begun
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog, LogUnavailable, Orphan
from stream_broker.log.redis import RedisLog
from stream_broker.log.writer import Writer
from stream_broker.metrics import BrokerMetrics
from stream_broker.native import Native
from stream_broker.record import JobHead, JobState
from stream_broker.relay import Relay
from stream_broker.renewing import renewing
from stream_broker.rounds import Spoken, spoken
from stream_broker.settlements import SettlementSpool
from stream_broker.tasks import end
from stream_broker.tool_desk import ToolDesk
from stream_broker.turns import Turns

_LOG = logging.getLogger(__name__)

# How long the ends of jobs may take to be written and settled at a shutdown (seconds).
_LAST_FLUSH_S = 1.0


class Runner:
    """All running jobs of this process, by id."""

    def __init__(
        self,
        settings: Settings,
        node: str,
        engines: EngineClient,
        writers: Mapping[str, Writer],
        leases: LeaseKeeper,
        spool: SettlementSpool,
        metrics: BrokerMetrics,
        memory: EventLog,
        redis_log: RedisLog | None,
        on_end: Callable[[LiveJob], Awaitable[None]],
        targets: Callable[[Grant], list[EngineTarget]],
        faulted: Callable[[EngineTarget, str], None],
        turns: Turns,
        desk: ToolDesk,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        native: Native | None = None,
    ) -> None:
        self._native = native
        self._settings = settings
        self._node = node
        self._engines = engines
        self._leases = leases
        self._redis_log = redis_log
        self._metrics = metrics
        self._ending = Ending(node, spool, metrics, on_end, clock, redis_log)
        self._grace = Grace(redis_log)
        self._targets = targets
        self._faulted = faulted
        self._turns = turns
        self._desk = desk
        self._clock = clock
        self.monotonic = monotonic
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[LiveJob, EngineRun] = {}
        self._one_less = asyncio.Event()
        self._parts = JobParts(
            settings, writers, memory, redis_log, metrics, clock=clock, monotonic=monotonic
        )
        self.backlog = self._parts.backlog
        self.jobs: dict[str, LiveJob] = {}

    def start(self, head: JobHead, epoch: int, leased_at: float | None = None) -> LiveJob:
        """Begins a new job. `leased_at`: monotonic time at which its lease was asked for."""
        live = self._live(head, epoch, self._parts.relay(head), leased_at)
        if head.grant.degraded_until is not None:
            live.notice("degraded_policy", "decided by the last known policy")
        if head.durability == "none" and self._redis_log is not None:
            live.notice("not_resumable", "the event log is away: this job lives on one broker")
        limits = head.grant.limits
        if limits.quota_limited:
            live.notice("limited", f"your quota has room for {limits.max_tokens} tokens")
        for told in head.grant.notices:
            live.notice(told.code, told.message)
        self._begin(live, text="")
        _LOG.info("begun", extra=begun(head))
        return live

    def take_over(
        self, orphan: Orphan, events: list[Event], leased_at: float | None = None
    ) -> LiveJob:
        """Goes on with a job whose relay has died, where the text can be continued."""
        head = orphan.state.head
        relay = self._parts.relay(head)
        text = relay.replay(events)
        whole = relay.last_seq == orphan.state.last_seq
        relay.last_seq = orphan.state.last_seq
        live = self._live(head, orphan.epoch, relay, leased_at)
        live.engine = orphan.state.engine
        if orphan.cancelled:
            live.cancel("client")
        elif orphan.lapsed + self._settings.relay_ttl >= self._settings.max_pause:
            # A relay that lived through this has told its viewers so, and settled.
            live.fail("log_unavailable", "the event log did not answer for too long")
        elif (reason := lost(head, relay, self._targets(head.grant), whole=whole)) is not None:
            live.fail("relay_lost", f"the broker died and cannot be replaced: {reason}")
        else:
            live.notice("relay_moved", f"continued on {self._node}")
            if (reason := relay.due_end(head.grant.limits.max_tokens)) is not None:
                live.finish(reason)
        self._begin(live, text, spoken(events) if relay.rounds.finished else None)
        return live

    async def settle_for(self, state: JobState) -> None:
        """Settles a job that has ended and whose relay died before it said so."""
        await self._ending.settle_for(state, self._parts.log(state.head))

    def cancel(self, job_id: str, reason: str) -> bool:
        """Cancels a job that runs here. Returns whether it does."""
        live = self.jobs.get(job_id)
        if live is not None:
            live.cancel(reason)
        return live is not None

    def running_for(self, user_id: str) -> int:
        """How many jobs of a user run here."""
        return sum(live.head.user_id == user_id and live.running for live in self.jobs.values())

    def viewer_joined(self, live: LiveJob) -> None:
        """One more viewer on this broker: the grace, if it runs, is over."""
        self._grace.joined(live)

    def viewer_left(self, live: LiveJob) -> None:
        """One less; the last one starts the grace."""
        self._grace.left(live)

    async def renew(self) -> None:
        """Renews the relays' leases in the log until cancelled."""
        if self._redis_log is not None:
            await renewing(
                self._redis_log,
                self.jobs,
                self._ending.say_settled,
                ttl=self._settings.relay_ttl,
                monotonic=self.monotonic,
            )

    async def finished(self) -> None:
        """Returns once no job runs here; the caller sets the time limit."""
        while self._runs:
            self._one_less.clear()
            await self._one_less.wait()

    async def aclose(self) -> None:
        """Hands over what still runs, or ends it where nobody could take it over."""
        for live in list(self.jobs.values()):
            if live.head.durability == "none" or self._redis_log is None:
                live.cancel("shutdown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FLUSH_S):
                while any(live.terminal is not None for live in self._runs):
                    self._one_less.clear()
                    await self._one_less.wait()
        await end(self._tasks)
        await self._ending.say_settled()
        await self._let_go_of_all()
        await self._grace.aclose()
        self._parts.alarms.close()

    def _live(self, head: JobHead, epoch: int, relay: Relay, leased_at: float | None) -> LiveJob:
        live = self._parts.live(head, epoch, relay, leased_at)
        self.jobs[head.job_id] = live
        self._parts.room.share(len(self.jobs))
        return live

    def _begin(self, live: LiveJob, text: str, said: Spoken | None = None) -> None:
        head, grant = live.head, live.head.grant
        self._leases.hold(grant.lease.id, head.user_id)
        if live.terminal is None:
            left = head.created_at + grant.limits.deadline_s - self._clock()
            live.after(max(0.0, left), partial(live.cancel, "deadline"))
        self._grace.arm(live)
        self._runs[live] = EngineRun(
            live,
            self._targets(grant),
            self._engines,
            self._parts.log(head),
            call_of(head),
            patience=self._settings.max_pause,
            moved=self._metrics.engine_moves.inc,
            faulted=self._faulted,
            hearing=self._metrics.hearing,
            desk=self._desk,
            native=self._native,
        )
        if said is not None:
            self._runs[live].resume(said)
        self._spawn(live, self._tend(live, text))

    def _job_done(self, live: LiveJob) -> None:
        self._spawn(live, self._tend(live, None))

    def _spawn(self, live: LiveJob, work: Coroutine[Any, Any, None]) -> None:
        context = bound(job_id=live.job_id, user=user_mark(live.head.user_id))
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tend(self, live: LiveJob, text: str | None) -> None:
        """Starts a job's engine behind `text`, if given, and does what its end needs."""
        over = True
        try:
            if text is not None and await self._may_start(live):
                await self._runs[live].start(text)
            if live.done:
                await self._ending.settle(live, self._parts.log(live.head))
            else:
                over = False
                live.on_done = self._job_done
        except asyncio.CancelledError:
            # Whoever ends this task hands the job over: here that would have 0.1 s (`tasks.end`).
            live.release()
            over = False
            raise
        finally:
            if over:
                await self._forget(live)

    async def _may_start(self, live: LiveJob) -> bool:
        """Waits for the job's turn where its grant says so, unless its answer has begun."""
        if live.head.grant.turn is None or live.relay.said or live.terminal is not None:
            return True
        chosen = await self._turns.wait(live)
        if chosen is not None:
            self._runs[live].prefer(chosen)
        return chosen is not None

    async def _let_go_of_all(self) -> None:
        """Stops all relays, so that other brokers may go on with their jobs."""
        loop = asyncio.get_running_loop()
        going = [loop.create_task(self._let_go(live)) for live in self._runs]
        if going:
            await asyncio.wait(going, timeout=_LAST_FLUSH_S)
            await end(going)

    async def _let_go(self, live: LiveJob) -> None:
        live.release()
        try:
            await self._hand_over(live)
        finally:
            await self._forget(live)

    async def _forget(self, live: LiveJob) -> None:
        await self._runs[live].aclose()
        self._leases.drop(live.head.grant.lease.id)
        del self._runs[live]
        if self.jobs.get(live.head.job_id) is live:
            del self.jobs[live.head.job_id]
            self._parts.room.share(len(self.jobs))
        self._one_less.set()

    async def _hand_over(self, live: LiveJob) -> None:
        if self._redis_log is None or live.head.durability == "none" or live.window.ended:
            return
        try:
            await self._redis_log.release(live.head.job_id, live.epoch)
        except LogUnavailable:
            _LOG.warning("%s: not handed over, its lease will end", live.head.job_id)
