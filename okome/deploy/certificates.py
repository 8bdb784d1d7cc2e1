"""Until when the certificates of a cluster are valid: read where the operator keeps them.

What a node has comes from there and from nowhere else, so what is told there is true of the
node once a play has ended; `okome_certificate_expires_timestamp_seconds` of each node is put
beside its node exporter by the same play.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from inventory.model import Cluster, Node
from okome.deploy.authority import RENEW_BEFORE
from okome.errors import OkomeError

METRIC = "okome_certificate_expires_timestamp_seconds"
_VAULT = b"$ANSIBLE_VAULT"


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate with its chain. `name` as in the metric: authority, node, vip, operator."""

    name: str
    file: Path
    expires: datetime.datetime

    @property
    def left(self) -> str:
        """How it is named to a person."""
        return f"{self.file} expires on {self.expires:%Y-%m-%d}"


def all_certificates(cluster: Cluster, secrets: Path) -> list[Held]:
    """Those of every node, of the VIP, of the operator and of the authority, the next one to
    expire first. Raises OkomeError for one that cannot be read."""
    operator = _held("operator", secrets / "operator/tls_cert")
    found = [*operator, *(held for node in cluster.nodes for held in of_node(node, secrets))]
    return sorted(found, key=lambda held: (held.expires, str(held.file)))


def of_node(node: Node, secrets: Path) -> list[Held]:
    """Those that a node has. The authority's is told by the control plane's node, for all."""
    deployed = node.role != "speculative" or node.workers
    found = list(_held("node", secrets / "nodes" / node.name / "tls_cert")) if deployed else []
    if node.role == "ingress":
        found += _held("vip", secrets / "ingress/vip.pem")
    if node.role == "control":
        found += _held("authority", secrets / "authority/certificate.pem")
    return found


def figures(held: Iterable[Held]) -> str:
    """As a node exporter reads them from a file: the text format of Prometheus."""
    lines = [f'{METRIC}{{certificate="{each.name}"}} {each.expires.timestamp():.0f}'
             for each in held]  # fmt: skip
    if not lines:
        return ""
    head = (
        f"# HELP {METRIC} Until when a certificate of the node is valid, as it was put there.",
        f"# TYPE {METRIC} gauge",
    )
    return "\n".join((*head, *lines)) + "\n"


def soon(held: Iterable[Held], now: datetime.datetime) -> list[Held]:
    """Those that `okome secrets` would make anew if they were the cluster's own."""
    return [each for each in held if each.expires - now <= RENEW_BEFORE]


def _held(name: str, file: Path) -> Iterator[Held]:
    """Nothing for one that is not there, or that only Ansible can read."""
    if not file.exists():
        return
    content = file.read_bytes()
    if content.startswith(_VAULT):
        return
    try:
        chain = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise OkomeError(f"{file}: is no certificate: {error}") from error
    # Clients believe none of it once one of the chain has expired.
    yield Held(name, file, min(each.not_valid_after_utc for each in chain))
