from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import ResponseError

from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.log.store import LoopConnection, Scripts, connect, translated
from stream_broker.log.stores import OneStore
from tests.stream_broker.building import JOB, KEYS, LIFETIMES, append, head, job_id, tokens
from tests.support.cluster import free_port
from tests.support.eventually import eventually_async
from tests.support.redis_server import RedisServer

ECHO = "return {KEYS[1], ARGV[1]}"
ADD = "return ARGV[1] + 1"


@pytest.fixture
async def own(own_server: RedisServer) -> AsyncIterator[Any]:
    """A client of a Redis that the test may break."""
    own_server.start()
    client = connect(own_server.host, own_server.port, timeout=0.5)
    yield client
    await client.aclose()


async def test_a_script_runs_by_its_name(redis: Any) -> None:
    assert await Scripts(redis).run(ECHO, ["k"], ["a"]) == [b"k", b"a"]


async def test_replies_come_in_order(redis: Any) -> None:
    calls = [(ADD, ["k"], [1]), (ECHO, ["k"], ["a"]), (ADD, ["k"], [2])]
    assert await Scripts(redis).run_all(calls) == [2, [b"k", b"a"], 3]


async def test_scripts_are_loaded_again_where_they_were_forgotten(redis: Any) -> None:
    scripts = Scripts(redis)
    await scripts.run(ADD, ["k"], [1])
    await redis.script_flush()
    assert await scripts.run_all([(ADD, ["k"], [1]), (ECHO, ["k"], ["a"])]) == [2, [b"k", b"a"]]


async def test_a_fault_of_ours_passes_through(redis: Any) -> None:
    await redis.set("k", "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await Scripts(redis).run("return redis.call('XLEN', KEYS[1])", ["k"], [])


async def test_nobody_listening_is_unavailable() -> None:
    client = connect("127.0.0.1", free_port(), timeout=0.5)
    with pytest.raises(LogUnavailable):
        await Scripts(client).run(ADD, ["k"], [1])
    await client.aclose()


async def test_a_hung_store_is_unavailable_within_the_timeout(
    own: Any, own_server: RedisServer
) -> None:
    scripts = Scripts(own)
    await scripts.run(ADD, ["k"], [1])
    own_server.hang()
    try:
        async with asyncio.timeout(3):
            with pytest.raises(LogUnavailable):
                await scripts.run(ADD, ["k"], [1])
    finally:
        own_server.go_on()
    assert await scripts.run(ADD, ["k"], [5]) == 6


def test_a_connection_that_broke_unheard_is_replaced_on_the_brokers_own_event_loop(
    redis_server: RedisServer,
) -> None:
    """It may do so between its beginning and the first word: a pool's own look is before that."""

    async def ask() -> object:
        connection = LoopConnection(host=redis_server.host, port=redis_server.port)
        await connection.connect()
        transport = connection._writer.transport
        transport.abort()
        await eventually_async(lambda: "closed=True" in repr(transport))
        with pytest.raises(Broken):
            await connection.send_command("PING")
        await connection.send_command("PING")
        answer = await connection.read_response()
        await connection.disconnect()
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask()) == b"PONG"


async def test_a_primary_that_becomes_a_replica_is_unavailable_to_who_waits_for_its_replicas(
    own: Any, own_server: RedisServer
) -> None:
    """An error in the middle of a pipeline, where the client puts words of its own before it."""
    patient = connect(own_server.host, own_server.port, timeout=10)

    async def ask() -> None:
        async with translated(), patient.pipeline(transaction=False) as pipe:
            pipe.set("k", 1)
            pipe.wait(1, 10_000)
            await pipe.execute()

    async def is_waited() -> bool:
        return bool((await own.info("clients"))["blocked_clients"])

    asking = asyncio.create_task(ask())
    await eventually_async(is_waited)
    await own.replicaof("127.0.0.1", free_port())
    with pytest.raises(LogUnavailable, match="UNBLOCKED"):
        await asking
    await patient.aclose()


async def test_a_full_store_is_unavailable(own: Any, own_server: RedisServer) -> None:
    stores = OneStore(own_server.address)
    log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
    await log.create(head())
    own_server.command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(LogUnavailable):
        await log.append([append(tokens(1, 1))])
    with pytest.raises(LogUnavailable):
        await log.create(head(job_id(1)))
    with pytest.raises(LogUnavailable):
        await log.mark_seen({JOB: 1.0})
    own_server.command("CONFIG", "SET", "maxmemory", 0)
    assert await log.append([append(tokens(1, 1))]) == ["stored"]
    log.close()
    await stores.aclose()


async def test_a_replica_without_its_primary_is_unavailable(
    own: Any, own_server: RedisServer
) -> None:
    stores = OneStore(own_server.address)
    log = RedisLog(stores, KEYS, lease=3.0, **LIFETIMES)
    await log.create(head())
    own_server.command("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(LogUnavailable):
        await log.append([append(tokens(1, 1))])
    own_server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    with pytest.raises(LogUnavailable):
        await log.state(JOB)
    log.close()
    await stores.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory",
        b"-MISCONF Redis is configured to save RDB snapshots",
        b"-CLUSTERDOWN Hash slot not served",
        b"-TRYAGAIN Multiple keys request during rehashing of slot",
        b"-MOVED 1 127.0.0.1:7000",
        b"-ERR max number of clients reached",
        b"-NOREPLICAS Not enough good replicas to write.",
        b"-NOSCRIPT No matching script. Please use EVAL.",
        b"-BUSY Redis is busy running a script.",
    ],
)
async def test_an_answer_that_passes_is_unavailable(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"EVALSHA" not in (data := await reader.read(1 << 16)) and data:
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.write(answer + b"\r\n")
        while data := await reader.read(1 << 16):
            load = b"$3\r\nsha\r\n"
            writer.write(answer + b"\r\n" if b"EVALSHA" in data else load)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = connect("127.0.0.1", server.sockets[0].getsockname()[1], timeout=2.0)
        with pytest.raises(LogUnavailable):
            await Scripts(client).run(ADD, ["k"], [1])
        await client.aclose()


async def test_more_calls_at_once_than_connections_wait_for_each_other(
    redis_server: RedisServer,
) -> None:
    client = connect(redis_server.host, redis_server.port, timeout=5.0, connections=4)
    scripts = Scripts(client)
    replies = await asyncio.gather(*(scripts.run(ADD, ["k"], [n]) for n in range(100)))
    assert replies == list(range(1, 101))
    await client.aclose()


async def test_a_call_cut_off_leaves_no_answer_behind_for_the_next(
    redis_server: RedisServer,
) -> None:
    client = connect(redis_server.host, redis_server.port, timeout=5.0, connections=1)
    scripts = Scripts(client)
    await scripts.run(ADD, ["k"], [1])
    for _ in range(20):
        task = asyncio.create_task(scripts.run(ADD, ["k"], [41]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await scripts.run(ECHO, ["k"], ["mine"]) == [b"k", b"mine"]
    await client.aclose()


async def test_what_is_not_the_stores_passes_untouched() -> None:
    with pytest.raises(KeyError):
        async with translated():
            raise KeyError("ours")
