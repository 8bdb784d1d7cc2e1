"""Loki's and Alloy's configuration, as it was reviewed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

import pytest
import yaml

from inventory.load import LOCAL, load_cluster
from observability.shipping import alloy, loki

CLUSTER = load_cluster(LOCAL.with_name("cluster.yml"))
HERE = Path(__file__).parent
GOLDEN: dict[str, Callable[[], str]] = {
    "loki.yml": lambda: loki(CLUSTER.node("okome-node-09"), PurePath("/var/lib/okome-loki"), 7),
    "config.alloy": lambda: alloy(CLUSTER, CLUSTER.node("okome-node-03")),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_as_it_was_reviewed(name: str) -> None:
    # After a change that is meant: python -m tests.observability.test_shipping
    assert GOLDEN[name]() == (HERE / name).read_text(encoding="utf-8")


def test_every_line_goes_to_both_and_is_kept_as_long_as_it_says() -> None:
    text = GOLDEN["config.alloy"]()
    for node in CLUSTER.role("observability"):
        assert f'"http://{node.address}:3100/loki/api/v1/push"' in text
    kept = yaml.safe_load(GOLDEN["loki.yml"]())
    assert kept["limits_config"]["retention_period"] == "168h"
    assert kept["compactor"]["retention_enabled"] is True


if __name__ == "__main__":
    for name, make in GOLDEN.items():
        (HERE / name).write_text(make(), encoding="utf-8")
