"""A real Prometheus over the real cluster under load: every query of every panel is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from observability.boards import slo
from observability.boards.model import Panel, Query
from okome.top.reading import read
from tests.observability.exprs import asked, every
from tests.observability.load import load
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster
# Panels of what only the ten nodes have; their metrics' names are checked against the list in
# docs/observability.md (tests/observability/test_boards.py), their syntax by promtool and here.
CLUSTER_ONLY = {
    "okome-engines": 7,  # vLLM's own, and the GPU
    "okome-control": 4,  # PostgreSQL
    "okome-redis": 9,
    "okome-nodes": 10,
}
WITHIN_S = 60


@pytest.fixture
async def loaded(cluster: Cluster, http: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The cluster under load, for as long as the test lasts."""
    if not any(node["role"] == "observability" for node in cluster.status()["nodes"]):
        pytest.skip("prometheus is not installed")
    working = asyncio.create_task(load(http, cluster.url))
    yield http
    assert not working.done() or working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working

    async def at_rest() -> bool:
        return not any([await jobs_of(http, cluster, number) for number in range(3, 7)])

    # What nobody reads any more still takes the user's streams from the next test.
    await eventually_async(at_rest, WITHIN_S)


async def jobs_of(http: httpx.AsyncClient, cluster: Cluster, number: int) -> float:
    answer = await http.get(f"{cluster.broker_url(f'okome-node-0{number}')}/metrics")
    return read(answer.text, 0.0).gauges["jobs"]


def has_values(result: list[dict[str, Any]]) -> bool:
    return any(math.isfinite(float(item["value"][1])) for item in result)


async def test_every_query_of_every_dashboard_answers(
    cluster: Cluster, loaded: httpx.AsyncClient
) -> None:
    url = f"http://{cluster.net}49:9090/api/v1/query"

    async def without() -> list[tuple[str, Panel, Query]]:
        """Those that have no figure now; each must be one that Prometheus can read."""
        missing = []
        for board, panel, query in every():
            answer = await loaded.get(url, params={"query": asked(query.expr, "30s")})
            assert answer.status_code == 200, f"{panel.title}: {answer.text}"
            if not has_values(answer.json()["data"]["result"]):
                missing.append((board.uid, panel, query))
        return missing

    async def only_the_silent() -> bool:
        return all(panel.silent or query.silent for _, panel, query in await without())

    try:
        await eventually_async(only_the_silent, WITHIN_S)
    except AssertionError:
        loud = [(b, p.title, q.legend) for b, p, q in await without() if not (p.silent or q.silent)]
        raise AssertionError(f"no figures under load: {loud}") from None


@pytest.mark.usefixtures("loaded")
async def test_the_terminal_shows_what_people_feel(cluster: Cluster) -> None:
    async def felt() -> bool:
        said = await asyncio.to_thread(cluster.okome, "top", "--json", "--interval", "5")
        seen = json.loads(said)
        assert seen["ok"] is True
        wanted = ("tokens_per_s", "ttft_p95", "jitter", "log_p99")
        return all(any(broker[name] for broker in seen["brokers"]) for name in wanted)

    await eventually_async(felt, WITHIN_S)


def test_what_only_the_cluster_feeds_is_listed() -> None:
    panels = {(board.uid, panel.title) for board, panel, _ in every() if panel.source == "cluster"}
    boards = [uid for uid, _ in panels]
    assert {uid: boards.count(uid) for uid in set(boards)} == CLUSTER_ONLY
    assert all(panel.silent for _, panel, _ in every() if panel.source == "cluster")


async def test_the_page_shows_figures_in_every_panel(
    cluster: Cluster, loaded: httpx.AsyncClient
) -> None:
    silent = {panel.title for panel in slo.BOARD.panels() if panel.silent}
    # A page's headline may be silent too, but not while streams run.
    silent -= {panel.title for panel in slo.NOW.panels}

    async def empty() -> set[str]:
        answer = await loaded.get(f"http://{cluster.net}49:3000/api/picture?minutes=5")
        picture = answer.json()
        assert picture["away"] is None
        shown = [panel for row in picture["rows"] for panel in row["panels"]]
        assert len(shown) == len(slo.BOARD.panels())
        assert all(panel["fault"] is None for panel in shown)
        return {
            panel["title"]
            for panel in shown
            if not any(value is not None for line in panel["series"] for _, value in line["points"])
        }

    async def filled() -> bool:
        return await empty() <= silent

    await eventually_async(filled, WITHIN_S)
    answer = await loaded.get(f"http://{cluster.net}49:3000/api/picture?minutes=5")
    assert answer.json()["verdict"]["level"] in ("good", "warn", "bad")
