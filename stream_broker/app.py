"""The composition root: one broker process, wired."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from observability.tracing import exporter_of
from stream_broker.abandoned import Abandoned
from stream_broker.acceptance import Acceptance
from stream_broker.authn import Authenticator
from stream_broker.cache.build import build_cache
from stream_broker.context import Context
from stream_broker.control import ControlClient
from stream_broker.conversations import Conversations
from stream_broker.directory import Directory
from stream_broker.embeddings.engines import EmbeddingEngines
from stream_broker.embeddings.service import Embedder
from stream_broker.engines.client import EngineClient
from stream_broker.followers import Followers
from stream_broker.granting import Granting
from stream_broker.ids import Home
from stream_broker.lateness import watch_lateness
from stream_broker.leases import LeaseKeeper
from stream_broker.live import LiveJob
from stream_broker.log.keys import KeySpace
from stream_broker.logs import build_logs
from stream_broker.metrics import BrokerMetrics
from stream_broker.native import load
from stream_broker.options import Options
from stream_broker.outages import Outages
from stream_broker.playout import Playout
from stream_broker.policy import PolicyHolder
from stream_broker.policy_file import PolicyFile
from stream_broker.reports import FaultReports
from stream_broker.routes.all import build_app
from stream_broker.running import Runner
from stream_broker.settlements import SettlementSpool
from stream_broker.spans import spans_of
from stream_broker.takeover import Sweeper
from stream_broker.tasks import end
from stream_broker.tool_desk import ToolDesk
from stream_broker.turns import Turns
from stream_broker.viewers import Viewers

_LOG = logging.getLogger(__name__)


# The ingress looks every 0.5 s and believes what it has seen twice.
_NOTICED_S = 1.5


class Broker:
    """All parts of one broker. `app` serves; `drain` and the lifespan end it."""

    def __init__(self, options: Options) -> None:
        self._settings = options.settings
        self._tasks: list[asyncio.Task[None]] = []
        self._keys = KeySpace(options.cluster)
        self._home = Home(options.cluster.node(options.node).number, options.worker)
        self._home_tag = options.cluster.log_tag(*self._home)
        self._node = options.node
        self.traces = exporter_of(options.settings, "okome-broker", options.node)
        self.faulty = asyncio.Event()
        self.metrics = BrokerMetrics(lambda name: self.policy.named(name))
        self.outages = Outages()
        self.native = load() if options.settings.native == "on" else None
        self._build_control(options)
        logs = build_logs(options, self._keys, self.metrics)
        self.memory, self.writers, self.log_writer = logs.memory, logs.writers, logs.writer
        self.stores, self.redis_log = logs.stores, logs.redis
        self._build_runner(options)
        self._build_embedder(options)
        self._build_following(options)
        self._build_context(options)
        self._gauges()
        self.app = build_app(self.context, self._lifespan)

    async def check(self) -> None:
        """Raises LogRefused when the log can never be used as it is."""
        if self.stores is not None:
            await self.stores.check()

    async def drain(self) -> None:
        """Takes no new jobs, sends away who can come back, waits for the rest.

        First it only says so: whoever comes before the ingress has noticed is served.
        """
        self.context.draining = True
        await asyncio.sleep(_NOTICED_S)
        self.acceptance.draining = self.embedder.draining = True
        if self.sweeper is not None:
            self.sweeper.draining = True
        self.viewers.drain()
        try:
            async with asyncio.timeout(self._settings.drain_deadline):
                await self.runner.finished()
                await self.embedder.finished()
                await self.viewers.all_gone()
        except TimeoutError:
            return

    def _build_control(self, options: Options) -> None:
        settings = options.settings
        self.control = ControlClient(
            options.control_url,
            options.service_key,
            settings.control_timeout,
            options.control_tls.context if options.control_tls else None,
        )
        self.policy = PolicyHolder(
            self.control,
            time.monotonic,
            poll=settings.policy_poll,
            file=PolicyFile(
                options.state / f"policy-{self._home}.json", options.cluster.control_url
            ),
        )
        self.leases = LeaseKeeper(self.control, options.node, interval=settings.lease_ttl / 3)
        self.spool = SettlementSpool(
            options.state / "settlements",
            self.control,
            max_bytes=settings.spool_max,
            trouble=self.metrics.settlement_in_trouble,
        )

    def _build_runner(self, options: Options) -> None:
        settings = options.settings
        self.engines = EngineClient(
            settings.engine_connect_timeout,
            settings.engine_idle_timeout,
            settings.engine_line_max,
            stopped=self.metrics.engine_aborts.observe,
        )
        self.turns = Turns(self.control, time.monotonic)
        dropped = self.metrics.engine_reports_dropped.inc
        self.reports = FaultReports(self.control, options.node, dropped)
        self.conversations = Conversations(self.stores, self._keys, settings.record_ttl)
        self.runner = Runner(
            settings,
            options.node,
            self.engines,
            self.writers,
            self.leases,
            self.spool,
            self.metrics,
            self.memory,
            self.redis_log,
            self._ended,
            self.policy.targets,
            self.reports.note,
            self.turns,
            ToolDesk(self.control, settings.tool_wait, time.monotonic, self.metrics.tool_called),
            clock=time.time,
            monotonic=time.monotonic,
            native=self.native,
        )

    def _build_embedder(self, options: Options) -> None:
        settings, metrics = options.settings, self.metrics
        self.cache = build_cache(options, metrics)
        self.embedding_engines = EmbeddingEngines(
            settings.engine_connect_timeout,
            settings.engine_idle_timeout,
            time.monotonic,
            metrics.embedding_items.observe,
        )
        self.embedder = Embedder(
            self._home,
            options.node,
            settings.embeddings_per_broker,
            Granting(
                settings,
                options.node,
                self.control,
                self.policy,
                time.time,
                metrics.was_granted,
                self.spool.leases_of,
            ),
            self.control,
            self.leases,
            self.spool,
            self.embedding_engines,
            self.cache,
            metrics,
            self.reports.note,
            self.runner.running_for,
            time.time,
        )

    def _build_following(self, options: Options) -> None:
        self.followers: Followers | None = None
        self.sweeper: Sweeper | None = None
        if self.redis_log is not None and self.stores is not None:
            self.followers = Followers(
                self._keys, self.redis_log, self.stores, options.process, self.runner.cancel
            )
            self.sweeper = Sweeper(
                self.redis_log,
                self._keys.tags,
                self.runner,
                self.followers,
                self.metrics,
                self.outages,
                hold_off=self._settings.relay_ttl / 2,
                clock=time.time,
            )

    def _build_context(self, options: Options) -> None:
        settings = options.settings
        self.playout = Playout(time.monotonic, self.metrics.pacer_holds.of().add)
        look = self.sweeper.look if self.sweeper is not None else lambda: None
        self.directory = Directory(
            self._home,
            self.runner,
            self.memory,
            self.redis_log,
            self.followers,
            self.playout,
            look,
            self._was_away,
        )
        log, home = self.redis_log, self._home
        self.abandoned = Abandoned(log, self.spool, home, options.node, time.time) if log else None
        self.viewers = Viewers(self.metrics, settings.viewers_per_broker, time.time, self.native)
        self.acceptance = Acceptance(
            settings,
            self._home,
            options.process,
            options.node,
            self.control,
            self.policy,
            self.runner,
            self.directory,
            self.memory,
            self.redis_log,
            self.abandoned,
            time.time,
            self.metrics.was_accepted,
            self.metrics.was_granted,
            self.spool.leases_of,
        )
        self.context = Context(
            settings=settings,
            node=options.node,
            policy=self.policy,
            authenticate=Authenticator(self.policy, time.time),
            acceptance=self.acceptance,
            directory=self.directory,
            conversations=self.conversations,
            runner=self.runner,
            embedder=self.embedder,
            viewers=self.viewers,
            metrics=self.metrics,
            shared_log=self.redis_log is not None,
            log_away=self._log_away,
        )

    def _log_away(self) -> bool:
        """Is this broker's home without its log, while others have theirs?"""
        tag, stores = self._home_tag, self.stores
        return stores is not None and tag is not None and stores.away(tag)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        runs: list[Coroutine[Any, Any, None]] = [
            self.policy.run(),
            self.leases.run(),
            self.spool.run(),
            self.runner.renew(),
            self.reports.run(),
            self.cache.run(),
            watch_lateness(time.monotonic, self.metrics.loop_lag.observe),
        ]
        if self.log_writer is not None:
            runs.append(self.log_writer.run())
        if self.stores is not None:
            runs.append(self.stores.run())
        if self.followers is not None and self.sweeper is not None:
            runs += [self.followers.run(), self.sweeper.run()]
            if self._home_tag is not None:
                self.followers.listen(self._home_tag)
        if self.abandoned is not None:
            runs.append(self.abandoned.run())
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(run) for run in runs]
        for task in self._tasks:
            task.add_done_callback(self._watch)
        try:
            yield
        finally:
            await self._aclose()

    def _watch(self, task: asyncio.Task[None]) -> None:
        """A broker without one of its parts serves nobody well: it ends, to be restarted."""
        if not task.cancelled() and task.exception() is not None:
            _LOG.critical("a part of the broker has died", exc_info=task.exception())
            self.faulty.set()

    async def _aclose(self) -> None:
        await self.runner.aclose()
        await self.viewers.aclose()
        await end(self._tasks)
        await self.spool.finish()
        self.playout.close()
        await self.engines.aclose()
        await self.embedding_engines.aclose()
        await self.cache.aclose()
        if self.followers is not None:
            await self.followers.aclose()
        if self.stores is not None and self.redis_log is not None:
            self.redis_log.close()
            await self.stores.aclose()
        await self.control.aclose()
        self.spool.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)

    def _was_away(self, job_id: str, at: float) -> bool:
        keys = self._keys.of_job(job_id)
        return keys is not None and self.outages.was_away(keys.tag, at)

    async def _ended(self, live: LiveJob) -> None:
        """A job has ended here: its spans are told, a `/chat` answer joins its conversation."""
        if self.traces is not None and live.terminal is not None:
            first, ended_at = live.relay.gaps.first, live.ended_at or time.time()
            self.traces.tell(
                spans_of(
                    live.head,
                    live.terminal,
                    node=self._node,
                    engine=live.engine,
                    first_token_at=first,
                    ended_at=ended_at,
                )
            )
        await self._remember(live)

    async def _remember(self, live: LiveJob) -> None:
        head = live.head
        if head.conversation_id is None or live.relay.state != "completed":
            return
        text = await self.directory.text(live.state())
        if text:
            answer = {"role": "assistant", "content": text}
            messages = [*head.call["messages"], answer]
            await self.conversations.remember(head.user_id, head.conversation_id, messages)

    def _gauges(self) -> None:
        gauge, total = self.metrics.gauge, self.metrics.total
        gauge("okome_broker_jobs_running", "Relays here.", lambda: len(self.runner.jobs))
        gauge("okome_broker_jobs_queued", "Waiting for a turn.", lambda: self.turns.waiting)
        gauge("okome_broker_embeddings_running", "Requests here.", lambda: len(self.embedder))
        gauge("okome_broker_cache_bytes", "Kept by this process.", lambda: self.cache.size)
        gauge("okome_broker_viewers", "Open viewer connections.", lambda: len(self.viewers))
        gauge("okome_broker_viewer_lag_events", "Of the slowest.", lambda: self.viewers.lag)
        gauge("okome_broker_log_away", "1 while only other homes' logs answer.", self._log_away)
        gauge("okome_broker_log_queue_events", "Not yet durable.", self._log_queue)
        gauge("okome_broker_backlog_bytes", "Held by jobs.", lambda: self.runner.backlog.held)
        gauge("okome_broker_leases_held", "Renewed from here.", lambda: len(self.leases))
        gauge("okome_broker_native", "1 with the native part.", lambda: self.native is not None)
        gauge("okome_broker_draining", "1 while it drains.", lambda: self.context.draining)
        gauge("okome_broker_settlements_spooled", "Not yet taken.", lambda: len(self.spool))
        gauge("okome_broker_spool_bytes", "Of settlements.", lambda: self.spool.bytes)
        gauge("okome_broker_policy_age_seconds", "Since the last poll.", lambda: self.policy.age)
        total("okome_broker_delivered_events", "To viewers.", lambda: self.viewers.delivered)

    def _log_queue(self) -> int:
        return 0 if self.log_writer is None else self.log_writer.waiting
