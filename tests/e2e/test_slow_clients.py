"""Clients that take little or nothing, against a real broker and an engine that is fast."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.e2e.slow import (
    SEND_TIMEOUT,
    Broker,
    asking,
    fast,
    last_id,
    parsed,
    whole_blocks,
    without_retry,
)
from tests.e2e.wire import numbered
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.fast_engine import text

pytestmark = pytest.mark.cluster

# About 280 KB as a stream: more than all buffers between a broker and its client hold.
LONG = 2000
# The same for a client whose kernel has the usual large ones.
VERY_LONG = 6000


@pytest.fixture(scope="module")
def fast_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose brokers have little patience."""
    with fast(tmp_path_factory.mktemp("slow"), "127.96", send_timeout=SEND_TIMEOUT) as running:
        yield running


@pytest.fixture
async def broker(fast_cluster: Cluster) -> AsyncIterator[Broker]:
    async with asking(fast_cluster) as broker:
        yield broker


async def test_a_frozen_reader_holds_nobody_and_its_cursor_stands(broker: Broker) -> None:
    before = await broker.evicted()
    job_id = await broker.start(LONG)
    with broker.reader(job_id) as frozen:
        await frozen.read(5000)
        await broker.finished(job_id, LONG)
        other = without_retry(await broker.rest(job_id, 0))

        async def evicted() -> bool:
            return await broker.evicted() == before + 1

        await eventually_async(evicted, within=20)
        await frozen.read_to_end()

    seen = parsed(other)
    assert numbered(seen)
    assert len(seen) == LONG + 1
    assert "".join(block.body.get("token", "") for block in seen) == text(LONG)
    had = whole_blocks(without_retry(frozen.body))
    assert 0 < last_id(had) < LONG
    assert had + without_retry(await broker.rest(job_id, last_id(had))) == other


async def test_the_broker_learns_of_a_frozen_reader_behind_the_ingress(broker: Broker) -> None:
    before = await broker.evicted()
    job_id = await broker.start(VERY_LONG)
    with broker.reader(job_id, url=broker.cluster.url) as frozen:
        await frozen.read(5000)
        await broker.finished(job_id, VERY_LONG)

        async def evicted() -> bool:
            return await broker.evicted() == before + 1

        await eventually_async(evicted, within=20)


async def test_a_frozen_websocket_is_told_and_its_cursors_stand(broker: Broker) -> None:
    before = await broker.evicted()
    jobs = [await broker.start(LONG) for _ in range(3)]
    cursors = dict.fromkeys(jobs, 0)
    got: dict[str, list[Any]] = {job_id: [] for job_id in jobs}

    def take(raw: str | bytes) -> None:
        message = json.loads(raw)
        got[message["job_id"]].append(message["data"])
        cursors[message["job_id"]] += 1
        assert message["seq"] == cursors[message["job_id"]]

    async with broker.websocket(broker.dial()) as client:
        for job_id in jobs:
            await client.send(json.dumps({"op": "resume", "job_id": job_id, "cursor": 0}))
        take(await client.recv())
        client.transport.pause_reading()
        for job_id in jobs:
            await broker.finished(job_id, LONG)

        async def evicted() -> bool:
            return await broker.evicted() == before + 1

        await eventually_async(evicted, within=20)
        client.transport.resume_reading()
        with suppress(websockets.ConnectionClosed):
            while True:
                take(await client.recv())
        assert client.close_code == 4008

    assert all(0 < cursor < LONG for cursor in cursors.values())
    async with broker.websocket(broker.dial(1 << 20)) as client:
        for job_id, cursor in cursors.items():
            await client.send(json.dumps({"op": "resume", "job_id": job_id, "cursor": cursor}))
        while any(cursor <= LONG for cursor in cursors.values()):
            take(await client.recv())
    for job_id in jobs:
        assert got[job_id] == [b.body for b in parsed(await broker.rest(job_id, 0))]


async def test_a_stopped_process_comes_back_with_its_cursor(broker: Broker, tmp_path: Path) -> None:
    before = await broker.evicted()
    job_id = await broker.start(VERY_LONG)
    printed = tmp_path / "printed"
    target = f"{broker.url}/v1/stream?job_id={job_id}"
    key = f"Authorization: Bearer {broker.cluster.api_key}"
    # So slow that it is stopped long before the end.
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sN", "--noproxy", "*", "--limit-rate", "50k", "-H", key, "-o", printed, target)
    )
    try:
        await eventually_async(lambda: printed.exists() and printed.stat().st_size > 1000)
        curl.send_signal(signal.SIGSTOP)
        await broker.finished(job_id, VERY_LONG)

        async def evicted() -> bool:
            return await broker.evicted() == before + 1

        await eventually_async(evicted, within=20)
    finally:
        curl.send_signal(signal.SIGCONT)
        ended = await curl.wait()

    assert ended != 0
    whole = without_retry(await broker.rest(job_id, 0))
    had = whole_blocks(without_retry(printed.read_bytes()))
    assert 0 < last_id(had) < VERY_LONG
    assert had + without_retry(await broker.rest(job_id, last_id(had))) == whole


async def test_a_reader_of_single_bytes_disturbs_nobody(broker: Broker) -> None:
    job_id = await broker.start(LONG)
    others = [asyncio.create_task(broker.rest(job_id, 0)) for _ in range(5)]
    with broker.reader(job_id) as slow:
        while not all(task.done() for task in others) and await slow.read(1):
            pass
        bodies = [without_retry(await task) for task in others]
        await slow.read_to_end()

    assert bodies == [bodies[0]] * len(others)
    assert numbered(parsed(bodies[0]))
    had = whole_blocks(without_retry(slow.body))
    assert had + without_retry(await broker.rest(job_id, last_id(had))) == bodies[0]
