"""`okome dash`: where the dashboard pages are."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from inventory.load import LOCAL, load_cluster
from okome.commands import ask_running
from okome.errors import OkomeError
from okome.plan import dash_name


def pages(inventory: Path | None) -> list[str]:
    """Their URLs; of the one-machine cluster, those that are served just now.

    Raises OkomeError where there is none.
    """
    cluster = load_cluster(inventory or LOCAL)
    urls = {
        dash_name(node): f"http://{node.address}:{cluster.dash_port}/"
        for node in cluster.role("observability")
    }
    if ip_address(cluster.vip).is_loopback:
        nodes = ask_running(inventory, {"op": "status"})["nodes"]
        served = {node["process"] for node in nodes if node["healthy"]}
        urls = {name: url for name, url in urls.items() if name in served}
    if not urls:
        raise OkomeError(
            "no dashboard page is served: it needs Prometheus (`okome doctor` says how to get it, "
            "`okome status` what became of it); `okome top` works without"
        )
    return list(urls.values())
