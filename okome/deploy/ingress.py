"""The files of an ingress node, as Ansible puts them there."""

from __future__ import annotations

from pathlib import Path

from ingress import keepalived
from ingress.backends import ControlTls
from ingress.edge import Edge, Rates
from ingress.haproxy import Limits, render
from inventory.load import load_cluster
from inventory.model import Cluster, Node
from inventory.settings import load_settings
from okome.errors import OkomeError

# Where the role `ingress` puts them.
CERTIFICATES = "/etc/okome/ingress/tls"
_CONTROL = ControlTls(cert="/etc/okome/ingress/control.pem", ca="/etc/okome/ingress/authority.pem")


def haproxy(inventory: Path, name: str, settings: Path | None, rates: Rates) -> str:
    """haproxy.cfg. Raises OkomeError for a node that is no ingress."""
    cluster, node = _find(inventory, name)
    limits = Limits(job_deadline=load_settings(file=settings).job_deadline)
    return render(cluster, node, limits, _CONTROL, Edge(CERTIFICATES, rates))


def vrrp(inventory: Path, name: str, interface: str) -> str:
    """keepalived.conf. Raises OkomeError where no VIP moves."""
    cluster, node = _find(inventory, name)
    try:
        return keepalived.render(cluster, node, interface)
    except ValueError as error:
        raise OkomeError(f"{inventory}: {error}") from error


def check(inventory: Path, name: str) -> str:
    """The script that keepalived asks."""
    return keepalived.check_script(*_find(inventory, name))


def _find(inventory: Path, name: str) -> tuple[Cluster, Node]:
    cluster = load_cluster(inventory)
    for node in cluster.role("ingress"):
        if node.name == name:
            return cluster, node
    raise OkomeError(f"{inventory}: {name} is no node of the group `ingress`")
