"""`python -m observability.dash --inventory FILE --node NAME`: serves the page of a node."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from inventory.load import InventoryError, load_cluster
from inventory.model import Cluster
from observability.dash.app import build_app


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM. Returns 1, after one line, when it cannot."""
    parser = argparse.ArgumentParser(prog="observability.dash", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True)
    parser.add_argument("--node", required=True, help="of the group `observability`")
    parser.add_argument("--interval", type=int, default=15, help="seconds between two scrapes")
    options = parser.parse_args(arguments)
    try:
        cluster = load_cluster(options.inventory)
        urls = sources(cluster, options.node)
    except (InventoryError, KeyError) as error:
        print(f"dash: {error}", file=sys.stderr, flush=True)
        return 1
    uvicorn.run(
        build_app(cluster.name, urls, options.interval),
        host=cluster.node(options.node).address,
        port=cluster.dash_port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Pictures are small and asked for every few seconds; a crowd is told to wait.
        limit_concurrency=100,
        timeout_graceful_shutdown=1,
    )
    return 0


def sources(cluster: Cluster, node: str) -> list[str]:
    """Prometheus on the node itself, then on the others. Raises KeyError."""
    own = cluster.node(node)
    others = [other for other in cluster.role("observability") if other != own]
    return [f"http://{each.address}:{each.port}" for each in (own, *others)]


if __name__ == "__main__":
    sys.exit(main())
