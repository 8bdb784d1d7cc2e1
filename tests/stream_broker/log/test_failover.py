"""The replicated log while processes of its cluster die, hang and fill up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from okome.redis_cluster import RedisCluster
from stream_broker.events import Event
from stream_broker.ids import Home, home_of
from stream_broker.log.base import Append, LogUnavailable, Outcome
from stream_broker.log.keys import Keys
from stream_broker.log.lanes import LaneWriters
from stream_broker.log.redis import RedisLog
from stream_broker.log.stores import ClusterStores
from stream_broker.log.tail import Tail
from stream_broker.tasks import end
from stream_broker.window import Window
from tests.stream_broker.building import (
    JOB,
    KEYS,
    LIFETIMES,
    append,
    complete,
    head,
    job_id,
    token,
    tokens,
)
from tests.stream_broker.replicated import running_stores
from tests.support.eventually import eventually_async
from tests.support.redis_cluster import ClusterServers

MUCH = 1 << 24
NODES = {number: f"okome-node-{number:02}" for number in (3, 4, 5, 6)}
NODE = NODES[3]
FAILOVER_S = 15.0


class Stream:
    """A relay of one job, as the log's writer sees it, that gives a token every 5 ms."""

    def __init__(self, number: int, writers: LaneWriters, window: Window) -> None:
        self.job_id = job_id(home=Home(number, 0))
        self.sent = 0
        self.shown = 0
        self.away = 0
        self.outcome: Outcome | None = None
        self.window = window
        self._writers = writers

    async def run(self) -> None:
        while self.outcome is None:
            self.send(token(self.sent + 1, f"t{self.sent + 1} ", job=self.job_id))
            # Load at a pace, no wait for anything.
            await asyncio.sleep(0.005)

    def send(self, event: Event) -> None:
        self.sent = event.seq
        self._writers.add(self, [event])

    def to_append(self, events: list[Event]) -> Append:
        return append(events, job=self.job_id)

    def stored(self, last: int) -> None:
        assert last > self.shown
        self.shown = last

    def refused(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def log_away(self, since: float) -> None:
        self.away += 1

    async def more(self, count: int = 100) -> None:
        """Waits until so many more are shown, here and by the other broker."""
        goal = self.shown + count
        await eventually_async(lambda: self.shown >= goal, FAILOVER_S)
        await eventually_async(lambda: self.window.durable >= goal, FAILOVER_S)


class Streams:
    """A stream of each home on one broker, and another broker that follows them all."""

    def __init__(self, log: RedisLog, there: ClusterStores, writers: LaneWriters) -> None:
        self.log = log
        self.tails = {
            number: Tail(there, Keys(KEYS.of_job(job_id(home=Home(number, 0))).tag), "p2", _none)  # type: ignore[union-attr]
            for number in NODES
        }
        self.all = {
            number: Stream(number, writers, tail.follow(job_id(home=Home(number, 0)), 0, MUCH))
            for number, tail in self.tails.items()
        }

    def __getitem__(self, number: int) -> Stream:
        return self.all[number]

    async def check(self) -> None:
        """What was shown, by whomever, is in the log, once and in order."""
        for stream in self.all.values():
            shown, seen = stream.shown, stream.window.read(0, MUCH)
            logged = await self.log.read(stream.job_id, 0, MUCH)
            assert logged == tokens(1, len(logged), job=stream.job_id)
            assert shown <= len(logged)
            assert seen is not None
            assert seen == logged[: len(seen)]


def _none(*_: str) -> None:
    return None


@asynccontextmanager
async def streaming(servers: ClusterServers, acks: int = 1) -> AsyncIterator[Streams]:
    cluster = servers.cluster
    async with running_stores(cluster, acks) as here, running_stores(cluster, acks) as there:
        log = RedisLog(here, KEYS, lease=3.0, **LIFETIMES)
        writers = LaneWriters(log, asyncio.get_running_loop().time)
        streams = Streams(log, there, writers)
        for stream in streams.all.values():
            await log.create(head(stream.job_id, "replicated"))
        runs = [writers, *streams.tails.values(), *streams.all.values()]
        tasks = [asyncio.create_task(part.run()) for part in runs]
        try:
            await asyncio.gather(*(stream.more() for stream in streams.all.values()))
            yield streams
            await streams.check()
        finally:
            await end(tasks)
            log.close()


@asynccontextmanager
async def looking(servers: ClusterServers) -> AsyncIterator[RedisCluster]:
    """The cluster as its supervisor looks at it."""
    redis = RedisCluster(servers.cluster)
    try:
        yield redis
    finally:
        await redis.aclose()


async def test_a_primary_that_dies_costs_a_pause_and_nothing_else(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded) as streams:
        wounded.kill(wounded.home(NODE))
        await streams[4].more()
        await streams[5].more()
        await streams[6].more()
        await streams[3].more()
        assert streams[3].outcome is None
        assert [streams[number].away for number in (4, 5, 6)] == [0, 0, 0]
        await asyncio.to_thread(wounded.wait_promoted, NODE)


async def test_a_home_takes_its_slots_back_while_its_streams_run(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded) as streams:
        wounded.kill(wounded.home(NODE))
        await asyncio.to_thread(wounded.wait_promoted, NODE)
        await streams[3].more()
        await asyncio.to_thread(wounded.mend)
        assert wounded.primary(NODE) == wounded.home(NODE)
        await streams[3].more()
        assert streams[3].outcome is None


async def test_a_node_that_dies_takes_nothing_of_the_others(wounded: ClusterServers) -> None:
    async with streaming(wounded) as streams:
        for store in wounded.stores.values():
            if store.node == NODE:
                wounded.kill(store)
        await asyncio.gather(*(stream.more(200) for stream in streams.all.values()))
        assert [streams[number].outcome for number in NODES] == [None] * 4


async def test_a_replica_that_nobody_has_seen_follow_is_not_promoted(
    wounded: ClusterServers,
) -> None:
    """It came back a moment before its primary dies, and may not have what was acknowledged."""
    returned, other = wounded.replicas(NODE)
    async with streaming(wounded) as streams:
        await asyncio.to_thread(wounded.kill, returned)
        await streams[3].more()
        wounded.start_one(returned)
        await eventually_async(lambda: b"master_link_status:up" in wounded.info(returned))
        wounded.kill(wounded.home(NODE))
        assert await asyncio.to_thread(wounded.wait_promoted, NODE) == other
        await streams[3].more()
        assert streams[3].outcome is None


async def test_one_that_nobody_saw_follow_is_promoted_when_nobody_else_can_be(
    wounded: ClusterServers,
) -> None:
    returned, other = wounded.replicas(NODE)
    async with streaming(wounded) as streams:
        for replica in (returned, other):
            await asyncio.to_thread(wounded.kill, replica)
        wounded.start_one(returned)
        await streams[3].more()
        wounded.kill(wounded.home(NODE))
        tending = asyncio.create_task(wounded.tend())
        assert await asyncio.to_thread(wounded.wait_promoted, NODE) == returned
        wounded.start_one(other)
        await streams[3].more()
        assert streams[3].outcome is None
        await end([tending])


async def test_a_primary_that_hangs_is_replaced_and_not_heard_again(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded) as streams:
        wounded.hang(wounded.home(NODE))
        await streams[4].more()
        await streams[3].more()
        wounded.go_on(wounded.home(NODE))
        await asyncio.to_thread(wounded.mend)
        await streams[3].more()


async def test_nothing_is_shown_that_no_replica_has(wounded: ClusterServers) -> None:
    async with streaming(wounded) as streams:
        for replica in wounded.replicas(NODE):
            wounded.hang(replica)
        stream = streams[3]
        await eventually_async(lambda: stream.away >= 2)
        shown = stream.shown
        state = await streams.log.state(stream.job_id)
        assert state is not None
        assert state.last_seq <= shown
        assert len(await streams.log.read(stream.job_id, 0, MUCH)) <= shown
        await streams[4].more()
        assert (stream.shown, stream.sent > shown + 50) == (shown, True)
        assert stream.window.durable <= shown
        with pytest.raises(LogUnavailable):
            await streams.log.create(head(job_id(7, Home(3, 0)), "replicated"))
        assert await streams.log.discard(job_id(7, Home(3, 0)))
        for replica in wounded.replicas(NODE):
            wounded.go_on(replica)
        await stream.more()


async def test_one_replica_is_enough(wounded: ClusterServers) -> None:
    async with streaming(wounded) as streams:
        wounded.hang(wounded.replicas(NODE)[0])
        await streams[3].more()
        assert streams[3].away == 0


async def test_whoever_asks_for_two_acknowledgements_waits_for_both_replicas(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded, acks=2) as streams:
        replica, stream = wounded.replicas(NODE)[0], streams[3]
        wounded.hang(replica)
        await eventually_async(lambda: stream.away)
        shown = stream.shown
        await streams[4].more()
        assert stream.shown == shown
        assert stream.window.durable <= shown
        wounded.go_on(replica)
        await stream.more()


async def test_a_full_primary_makes_its_streams_wait(wounded: ClusterServers) -> None:
    async with streaming(wounded) as streams:
        home = wounded.home(NODE)
        wounded.command(home, "CONFIG", "SET", "maxmemory", 1)
        stream = streams[3]
        await eventually_async(lambda: stream.away)
        shown = stream.shown
        await streams[4].more()
        assert stream.shown == shown
        wounded.command(home, "CONFIG", "SET", "maxmemory", 0)
        await stream.more()


async def test_a_log_that_lost_what_was_shown_takes_no_more_of_the_job(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded) as streams:
        home, stream = wounded.home(NODE), streams[3]
        for replica in wounded.replicas(NODE):
            wounded.kill(replica)
        wounded.kill(home)
        for store in (home, *wounded.replicas(NODE)):
            wounded.start_one(store)
        await eventually_async(lambda: stream.outcome, FAILOVER_S)
        assert stream.outcome == "missing"
        await eventually_async(lambda: stream.window.failure, FAILOVER_S)
        assert stream.window.failure.body()["code"] == "log_unavailable"  # type: ignore[union-attr]
        await streams[4].more()
        streams.all.pop(3)


async def test_a_primary_that_is_started_again_waits_until_it_was_replaced(
    wounded: ClusterServers,
) -> None:
    async with streaming(wounded) as streams:
        wounded.kill(wounded.home(NODE))
        await asyncio.to_thread(wounded.restart_one, wounded.home(NODE))
        await streams[3].more()
        assert streams[3].outcome is None
        await asyncio.to_thread(wounded.mend)
        assert wounded.left_behind() == []


async def test_a_primary_is_not_started_while_its_replicas_are_not_heard(
    wounded: ClusterServers,
) -> None:
    """Both are too slow to answer: they have its data all the same."""
    home, told = wounded.home(NODE), asyncio.Event()
    async with streaming(wounded) as streams, looking(wounded) as redis:
        for replica in wounded.replicas(NODE):
            wounded.hang(replica)
        wounded.kill(home)
        waiting = asyncio.create_task(redis.await_replaced(home.name, lambda _: told.set()))
        ends = {waiting, asyncio.create_task(told.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert not waiting.done()
        for replica in wounded.replicas(NODE):
            wounded.go_on(replica)
        await waiting
        await asyncio.to_thread(wounded.wait_promoted, NODE)
        await streams[3].more()


async def test_a_process_that_was_started_anew_is_seen_at_the_first_look(
    wounded: ClusterServers,
) -> None:
    """Though connections to the one before it are kept for all."""
    replica = wounded.replicas(NODE)[0]
    async with looking(wounded) as redis:
        assert len(await redis.look()) == len(wounded.stores)
        await asyncio.to_thread(wounded.kill, replica)
        wounded.start_one(replica)
        await eventually_async(lambda: b"master_link_status:up" in wounded.info(replica))
        assert len(await redis.look()) == len(wounded.stores)


async def test_a_home_that_lost_all_its_data_serves_new_jobs_again(
    wounded: ClusterServers,
) -> None:
    """The one that had the slots last comes back after the home's primary, or never."""
    home = wounded.home(NODE)
    await asyncio.to_thread(wounded.kill, home)
    heir = await asyncio.to_thread(wounded.wait_promoted, NODE)
    wounded.start_one(home)
    await eventually_async(lambda: b"master_link_status:up" in wounded.info(home), FAILOVER_S)
    (other,) = (store for store in wounded.replicas(NODE) if store != heir)
    for store in (heir, other, home):
        wounded.kill(store)
    wounded.start_one(home)
    tending = asyncio.create_task(wounded.tend())
    async with running_stores(wounded.cluster) as stores:
        log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
        wounded.start_one(other)

        async def made() -> bool:
            with suppress(LogUnavailable):
                return await log.create(head(durability="replicated")) == 1
            return False

        await eventually_async(made, 2 * FAILOVER_S)
        assert wounded.primary(NODE) == home
        log.close()
    await end([tending])


async def test_an_append_sent_again_after_a_failover_writes_nothing_twice(
    wounded: ClusterServers, replicated_log: RedisLog
) -> None:
    await replicated_log.create(head(durability="replicated"))
    assert await replicated_log.append([append(tokens(1, 5))]) == ["stored"]
    wounded.kill(wounded.home(NODE))
    await asyncio.to_thread(wounded.wait_promoted, NODE)
    batch = [append(tokens(4, 7))]

    async def answered() -> list[Outcome] | None:
        with suppress(LogUnavailable):
            return await replicated_log.append(batch)
        return None

    assert await eventually_async(answered, FAILOVER_S) == ["stored"]
    assert await replicated_log.append([append([*tokens(6, 7), complete(8)])]) == ["stored"]
    assert await replicated_log.read(JOB, 0, MUCH) == [*tokens(1, 7), complete(8)]
    assert home_of(JOB) == Home(3, 0)
