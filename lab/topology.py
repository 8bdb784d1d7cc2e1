"""Which hosts the lab boots, and its inventory: that of the cluster with what differs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inventory.model import Cluster

# Of everything that the lab makes outside its own directory.
PREFIX = "okome-lab"
# Who asks from outside: it runs Ansible, and it is where clients are.
CLIENT = "client"
_CLIENT_PLACE = 200


@dataclass(frozen=True, slots=True)
class Host:
    """One container. `port` is the name of its cable's end at the switch."""

    name: str
    address: str

    @property
    def port(self) -> str:
        """Short enough for the name of an interface, which has at most 15 characters."""
        return f"p{self.address.rpartition('.')[2]}"

    @property
    def netns(self) -> str:
        """Its network namespace."""
        return f"{PREFIX}-{self.name}"


def hosts_of(cluster: Cluster) -> tuple[Host, ...]:
    """Every node of the cluster, and the client."""
    nodes = tuple(Host(node.name, node.address) for node in cluster.nodes)
    network = cluster.vip.rpartition(".")[0]
    return (*nodes, Host(CLIENT, f"{network}.{_CLIENT_PLACE}"))


def overlay(raw: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` with the values of `over`; mappings are joined, everything else is replaced."""
    joined = dict(raw)
    for key, value in over.items():
        below = joined.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            joined[key] = overlay(below, value)
        else:
            joined[key] = value
    return joined


def hosts_file(hosts: tuple[Host, ...]) -> str:
    """`/etc/hosts` of all of them."""
    lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in hosts)]
    return "\n".join(lines) + "\n"


def ssh_config(hosts: tuple[Host, ...], key: str, known_hosts: str) -> str:
    """How all of them are reached, by name or address, from the client's network."""
    names = " ".join(f"{host.name} {host.address}" for host in hosts)
    each = "\n".join(f"Host {host.name}\n    HostName {host.address}" for host in hosts)
    return f"""\
{each}
Host {names}
    User okome
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
    ConnectTimeout 3
    LogLevel ERROR
"""
