"""The wire contract's cases against memory, against Redis, and over live HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inventory.load import load_cluster
from tests.conformance.cases import Case, all_cases
from tests.conformance.performing import Performance
from tests.conformance.targets import Target, in_memory, in_redis
from tests.proof.truth import Truth, truth_of
from tests.support.cluster import Cluster
from tests.support.redis_server import RedisServer
from tests.support.synthetic_engine import MODEL
from tests.torture.stage import stage

CASES = all_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=[f"{c.file}: {c.name}" for c in CASES])


@each_case
async def test_in_memory(case: Case) -> None:
    async with in_memory() as target:
        await Performance(case, target).run()


@each_case
async def test_in_redis(case: Case, redis_server: RedisServer) -> None:
    async with in_redis(redis_server) as target:
        await Performance(case, target).run()


@pytest.fixture(scope="module")
def live() -> Iterator[Target]:
    """A whole cluster, read through its ingress and past it."""
    with stage(rate=1000.0) as (cluster, _):
        truth = truth_in(cluster)
        urls = (
            cluster.url,
            cluster.broker_url("okome-node-03"),
            cluster.broker_url("okome-node-06"),
        )
        yield Target(urls, cluster.api_key, MODEL, truth.expire)
        truth.close()


def truth_in(cluster: Cluster) -> Truth:
    """The log's Redis of a running cluster."""
    node = next((n for n in cluster.status()["nodes"] if n["role"] == "redis"), None)
    if node is None:
        pytest.skip("no redis-server")
    return truth_of(node["address"], node["port"], load_cluster(cluster.inventory))


@pytest.mark.cluster
@each_case
async def test_live(case: Case, live: Target) -> None:
    await Performance(case, live).run()
