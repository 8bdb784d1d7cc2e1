"""A node's firewall as pure text from the inventory: one nftables table of its own.

Everything that comes in is dropped, but for answers, ICMP, ssh and what the node's role is
there for, each only from the nodes that need it. Other tables are left alone, and what goes
out is not looked at.

Of TCP only the first packet of a connection is judged. Connections that the kernel does not
know, because they are older than the rules or were another ingress' before a failover, go on
or are told at once that nobody knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal
from urllib.parse import urlsplit

from ingress.edge import PEERS_PORT
from inventory.model import REPLICAS, Cluster, Node
from observability.scraping import ALERTMANAGER_PORT, EXPORTER_PORTS
from okome.plan import BUS

TABLE = "okome"
GOSSIP, GRAFANA, LOKI = 9094, 3000, 3100
Protocol = Literal["tcp", "udp", "vrrp"]
# By number: a small system has no /etc/protocols to find the name in.
_VRRP = 112


@dataclass(frozen=True, slots=True)
class Opening:
    """A way in, named `what`. `sources` are addresses or networks, None: everybody; with none
    of them nobody comes in. VRRP has no ports."""

    what: str
    ports: tuple[int, ...]
    sources: tuple[str, ...] | None = None
    protocol: Protocol = "tcp"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the inventory does not say: addresses or networks, None: everybody.

    `operators` reach every service of every node, `clients` the ingress. `also` are openings
    of the owner's, for what else a node is used for.
    """

    ssh_port: int = 22
    ssh: tuple[str, ...] | None = None
    clients: tuple[str, ...] | None = None
    operators: tuple[str, ...] = ()
    also: tuple[Opening, ...] = ()


def render(cluster: Cluster, node: Node, admission: Admission) -> str:
    """The rules of `node`, for `nft -f`: they replace those of before at once, as a whole.
    Raises ValueError for a source that is no address or network, or an impossible opening."""
    rules = [line for opening in openings(cluster, node, admission) for line in _lines(opening)]
    return _RULES.format(
        table=TABLE, node=node.name, rules="\n".join(f"        {r}" for r in rules)
    )


def openings(cluster: Cluster, node: Node, admission: Admission) -> list[Opening]:
    """Every way into `node`."""
    find = _Who(cluster, node, admission.operators)
    ways = [Opening("ssh", (admission.ssh_port,), admission.ssh)]
    ways.append(Opening("node exporter", (EXPORTER_PORTS["node"],), find("observability")))
    if node.role == "ingress":
        ways += _ingress(cluster, node, find, admission.clients)
    if node.workers:
        ports = tuple(range(node.port, node.port + node.workers))
        ways.append(Opening("brokers", ports, find.with_operators("ingress", "observability")))
    ways += _log(cluster, node, find)
    if node.role == "control":
        asking = find.with_operators("broker", "ingress", "observability")
        ways.append(Opening("control plane", (node.port,), asking))
        ways.append(
            Opening("database exporter", (EXPORTER_PORTS["postgres"],), find("observability"))
        )
    if node.role == "core_gpu":
        ports = tuple(sorted({_port(spec.base_url) for spec in node.engines}))
        asking = find.with_operators("broker", "control", "observability")
        ways.append(Opening("engines", ports, asking))
    if node.role == "cache":
        ways.append(Opening("hot cache", (node.port,), find("broker", "observability")))
    if node.role == "observability":
        ways += _observability(cluster, node, find)
    return [*ways, *admission.also]


class _Who:
    """The addresses of other nodes, by role; `broker` is whoever runs brokers."""

    def __init__(self, cluster: Cluster, own: Node, operators: tuple[str, ...]) -> None:
        self._cluster, self._own, self._operators = cluster, own, operators

    def __call__(self, *roles: str) -> tuple[str, ...]:
        brokers = self._cluster.brokers() if "broker" in roles else ()
        nodes = [n for n in self._cluster.nodes if n.role in roles or n in brokers]
        # An ingress may also speak from the address that it holds.
        vip = (self._cluster.vip,) if "ingress" in roles and self._own.role != "ingress" else ()
        return (*(node.address for node in nodes if node != self._own), *vip)

    def with_operators(self, *roles: str) -> tuple[str, ...]:
        return (*self(*roles), *self._operators)


def _ingress(
    cluster: Cluster, node: Node, find: _Who, clients: tuple[str, ...] | None
) -> Iterator[Opening]:
    redirected = (cluster.redirect_port,) if cluster.redirect_port else ()
    yield Opening("clients", tuple(sorted({cluster.ingress_port, node.port, *redirected})), clients)
    yield Opening("who holds the VIP", (), find("ingress"), "vrrp")
    yield Opening("rates of clients", (PEERS_PORT,), find("ingress"))
    asking = find.with_operators("ingress", "observability")
    yield Opening("statistics", (cluster.stats_port,), asking)


def _log(cluster: Cluster, node: Node, find: _Who) -> Iterator[Opening]:
    if node.name not in {store.node for store in cluster.log_stores()}:
        return
    ports = tuple(range(cluster.redis_port, cluster.redis_port + REPLICAS + 1))
    yield Opening("log", ports, find("broker", "observability"))
    yield Opening("log, among its members", tuple(p + BUS for p in ports), find("stream"))


def _observability(cluster: Cluster, node: Node, find: _Who) -> Iterator[Opening]:
    looking = find.with_operators("observability")
    yield Opening("Prometheus", (node.port,), looking)
    yield Opening("Alertmanager", (ALERTMANAGER_PORT,), looking)
    for protocol in ("tcp", "udp"):
        yield Opening("Alertmanagers", (GOSSIP,), find("observability"), protocol)
    yield Opening("dashboards", (GRAFANA, cluster.dash_port), looking)
    everyone = find(*{node.role for node in cluster.nodes}, "broker")
    yield Opening("Loki", (LOKI,), (*everyone, *find.with_operators()))


def _lines(opening: Opening) -> Iterator[str]:
    """One rule for each family of addresses, or one for everybody."""
    kind = opening.protocol
    if '"' in opening.what or not all(0 < port < 65536 for port in opening.ports):
        raise ValueError(f"no opening: {opening.what!r} {opening.ports}")
    match = f"meta l4proto {_VRRP}" if kind == "vrrp" else f"{kind} dport {_set(opening.ports)}"
    verdict = f'accept comment "{opening.what}"'
    if opening.sources is None:
        yield f"{match} {verdict}"
        return
    networks = sorted({ip_network(source) for source in opening.sources}, key=str)
    for version, family in ((4, "ip"), (6, "ip6")):
        if found := [_name(n) for n in networks if n.version == version]:
            yield f"{family} saddr {_set(found)} {match} {verdict}"


def _name(network: object) -> str:
    return str(network).removesuffix("/32").removesuffix("/128")


def _set(members: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, members))} }}"


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


_RULES = """\
# {node}: put here by Ansible (role firewall) from the inventory; a change here is lost.
table inet {table}
delete table inet {table}
table inet {table} {{
    counter dropped {{
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        tcp flags & (syn | ack) != syn accept comment "no first packet"
        meta l4proto {{ 1, 58 }} accept comment "ICMP"
{rules}
        counter name "dropped"
    }}
}}
"""
