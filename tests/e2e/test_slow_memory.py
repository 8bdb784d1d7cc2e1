"""What frozen readers cost a broker."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.slow import Broker, asking, fast
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster

READERS = 200
TOKENS = 3000
MOST = 64 << 10


async def _run(broker: Broker, readers: ExitStack | None = None) -> None:
    """Runs a job for each reader, a few at a time, and freezes a reader of each."""
    for _ in range(READERS):
        await eventually_async(lambda: _few_run(broker), within=60)
        job_id = await broker.start(TOKENS)
        if readers is not None:
            readers.enter_context(broker.reader(job_id))
    await eventually_async(lambda: _few_run(broker, 1), within=60)


async def _few_run(broker: Broker, most: int = 8) -> bool:
    return await broker.metric("okome_broker_jobs_running") < most


async def test_frozen_readers_cost_little_memory(tmp_path: Path) -> None:
    with fast(tmp_path, "127.97", send_timeout=600) as cluster, ExitStack() as readers:
        if cluster.status()["durability"] == "none":
            pytest.skip("no redis-server: a log in memory is as long as its answer")
        async with asking(cluster) as broker:
            # The same jobs without readers fill what the process keeps for later ones.
            await _run(broker)
            before = broker.rss()
            await _run(broker, readers)
            assert await broker.metric("okome_broker_viewers") == READERS
            grown = broker.rss() - before

    assert grown / READERS < MOST
