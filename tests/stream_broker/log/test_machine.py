"""Any order of creations, flushes, repetitions, takeovers and reads, on the three forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from stream_broker.events import Event
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import ClusterStores, OneStore
from tests.stream_broker.building import JOB, KEYS, LIFETIMES, Clock, append, head, tokens
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer

AnyLog = MemoryLog | RedisLog
Stores = OneStore | ClusterStores
Make = Callable[[], tuple[AnyLog, Stores | None]]


class LogMachine(RuleBasedStateMachine):
    """One job. The model: its events so far, and the epoch that may write."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.log, self.stores = self.loop.run(self._begin(make))
        self.events: list[Event] = []
        self.epoch = 1

    async def _begin(self, make: Make) -> tuple[AnyLog, Stores | None]:
        log, stores = make()
        if stores is not None:
            await stores.ask(KEYS.tags[0], lambda redis: redis.flushall())
        await log.create(head(durability=log.durability))
        return log, stores

    def teardown(self) -> None:
        if isinstance(self.log, RedisLog):
            self.log.close()
        if self.stores is not None:
            self.loop.run(self.stores.aclose())
        self.loop.close()

    @rule(first=st.integers(-4, 2), count=st.integers(1, 5), old=st.integers(0, 2))
    def flush(self, first: int, count: int, old: int) -> None:
        begin = max(1, len(self.events) + first)
        batch = [append(tokens(begin, begin + count - 1), self.epoch - old)]
        (outcome,) = self.loop.run(self.log.append(batch))
        if old:
            assert outcome == "fenced"
        elif begin > len(self.events) + 1:
            assert outcome == "missing"
        else:
            assert outcome == "stored"
            self.events += tokens(len(self.events) + 1, begin + count - 1)

    @rule(after=st.integers(0, 30), max_bytes=st.integers(1, 800))
    def read(self, after: int, max_bytes: int) -> None:
        found = self.loop.run(self.log.read(JOB, after, max_bytes))
        rest = self.events[after:]
        assert found == rest[: len(found)]
        assert bool(found) == bool(rest)

    @rule()
    def look(self) -> None:
        state = self.loop.run(self.log.state(JOB))
        assert state is not None
        assert state.last_seq == len(self.events)

    @rule()
    def take_over(self) -> None:
        if not isinstance(self.log, RedisLog):
            return
        assert self.loop.run(self.log.acquire(JOB, 0.0)) is None
        self.loop.run(self.log.release(JOB, self.epoch))
        taken = self.loop.run(self.log.acquire(JOB, 0.0))
        assert taken is not None
        assert (taken.epoch, taken.state.last_seq) == (self.epoch + 1, len(self.events))
        self.epoch += 1

    @rule()
    def give_up_what_one_has_not(self) -> None:
        if isinstance(self.log, RedisLog):
            self.loop.run(self.log.release(JOB, self.epoch + 1))
            assert self.loop.run(self.log.acquire(JOB, 0.0)) is None


def in_memory() -> tuple[AnyLog, None]:
    return MemoryLog(Clock(), max_bytes=1 << 20, **LIFETIMES), None


SETTINGS = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_the_log_in_memory_keeps_its_word() -> None:
    run_state_machine_as_test(lambda: LogMachine(in_memory), settings=SETTINGS)  # type: ignore[no-untyped-call]


def test_the_log_in_redis_keeps_its_word(redis_server: RedisServer) -> None:
    def in_redis() -> tuple[AnyLog, Stores]:
        stores = OneStore(redis_server.address, timeout=5.0)
        return RedisLog(stores, KEYS, lease=3.0, **LIFETIMES), stores

    run_state_machine_as_test(lambda: LogMachine(in_redis), settings=SETTINGS)  # type: ignore[no-untyped-call]


def test_the_replicated_log_keeps_its_word(cluster_servers: ClusterServers) -> None:
    cluster = cluster_servers.cluster
    addresses = tuple((store.address, store.port) for store in cluster.log_stores())

    def in_cluster() -> tuple[AnyLog, Stores]:
        stores = ClusterStores(addresses, cluster.log_tags(), acks=1, timeout=5.0)
        return RedisLog(stores, KEYS, lease=3.0, **LIFETIMES), stores

    run_state_machine_as_test(lambda: LogMachine(in_cluster), settings=SETTINGS)  # type: ignore[no-untyped-call]
