"""A small torture of the kind that `scripts/torture` does for hours, and a rolling restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.torture.report import table
from tests.torture.run import Options, Run
from tests.torture.stage import stage

pytestmark = pytest.mark.cluster

Stage = tuple[Cluster, Any]


@pytest.fixture(scope="module")
def tortured() -> Iterator[Stage]:
    """A cluster with a synthetic engine, whose text shows what is lost."""
    with stage(rate=40.0) as staged:
        if staged[0].status()["durability"] == "none":
            pytest.skip("redis-server is not installed")
        yield staged


async def run(cluster: Cluster, options: Options) -> dict[str, Any]:
    found = await Run(cluster, options, print).run()
    assert found["ok"], table(found, color=False)
    return found


async def test_cut_clients_and_dying_processes_lose_nothing(tortured: Stage) -> None:
    cluster, engine = tortured
    options = Options(minutes=0.4, reconnects=0, clients=8, engine=engine, pause=(0.2, 1.0))
    found = await run(cluster, options)

    assert found["reconnects"] > 50
    killed = {name for name in found["counts"] if name.partition("-")[2] in ("killed", "hung")}
    assert killed, "nothing has died"


async def test_a_rolling_restart_under_load_loses_nothing_and_nobody_sees_an_error(
    tortured: Stage,
) -> None:
    cluster, _ = tortured
    # So many and so long that hardly ever does a broker drain without a stream that can go on
    # elsewhere (with 8 of half the length: one run in twenty).
    options = Options(
        minutes=2.0, reconnects=0, clients=20, chaos="rolling", tokens=(160, 320), cuts=False
    )
    found = await run(cluster, options)

    counts = found["counts"]
    assert counts["stream-drained"] == 4
    assert found["broken"] == []
    assert not [name for name in counts if name.startswith("told to wait")]
    assert {name for name in counts if name.startswith("end ")} == {"end job_complete length"}
    # Streams were ended cleanly and went on elsewhere; no job was.
    assert counts["ended without an end"] > 0
    assert "notice relay_moved" not in counts
