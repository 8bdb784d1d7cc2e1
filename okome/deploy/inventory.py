"""An inventory as it is shown: a table, a tree, a drawing, JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inventory.model import Cluster, Node
from okome.table import table


def listens(cluster: Cluster, node: Node) -> list[str]:
    """`what:port` of everything that OKOME runs or uses on a node."""
    found = {
        "ingress": [("ingress", cluster.ingress_port), ("stats", cluster.stats_port)],
        "control": [("control", node.port)],
        "cache": [("cache", node.port)],
        "redis": [("log", node.port)],
    }.get(node.role, [])
    if node.role == "ingress" and cluster.redirect_port is not None:
        found.append(("redirect", cluster.redirect_port))
    found += [("broker", node.port + worker) for worker in range(node.workers)]
    found += [
        ("log" if store.primary else f"log of {store.home}", store.port)
        for store in cluster.log_stores()
        if store.node == node.name and node.role == "stream"
    ]
    named = [f"{what}:{port}" for what, port in found]
    return named + [f"{spec.name} {spec.base_url} {spec.model}" for spec in node.engines]


def as_json(cluster: Cluster) -> dict[str, Any]:
    """For scripts."""
    return {
        "name": cluster.name,
        "url": cluster.url,
        "vip": cluster.vip,
        "durability": cluster.durability,
        "nodes": [
            {
                "name": node.name,
                "number": node.number,
                "role": node.role,
                "address": node.address,
                "log_tags": list(node.log_tags),
                "listens": listens(cluster, node),
            }
            for node in cluster.nodes
        ],
    }


def as_table(cluster: Cluster) -> str:
    """What `okome inventory show` shows."""
    rows = [
        (node.name, node.role, node.address, ", ".join(listens(cluster, node)) or "-")
        for node in cluster.nodes
    ]
    head = f"{cluster.name}: {cluster.url}, durability {cluster.durability}"
    return f"{head}\n\n{table(('NODE', 'ROLE', 'ADDRESS', 'LISTENS'), rows)}"


def as_tree(cluster: Cluster) -> str:
    """The groups and what is in them."""
    roles = list(dict.fromkeys(node.role for node in cluster.nodes))
    lines = [f"{cluster.name} ({cluster.url})"]
    for role in roles:
        last_role = role == roles[-1]
        lines.append(f"{'└──' if last_role else '├──'} {role}")
        nodes = cluster.role(role)
        for node in nodes:
            bar = "    " if last_role else "│   "
            branch = "└──" if node is nodes[-1] else "├──"
            lines.append(f"{bar}{branch} {node.name} {node.address}")
    return "\n".join(lines)


def as_dot(cluster: Cluster) -> str:
    """Who connects to whom, in the language of Graphviz."""
    lines = [f"digraph {_quoted(cluster.name)} {{", "  rankdir=LR;"]
    lines += [f"  {_quoted(node.name)} [label={_quoted(_label(node))}];" for node in cluster.nodes]
    lines += [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in _connections(cluster)]
    return "\n".join([*lines, "}"])


def _connections(cluster: Cluster) -> Iterator[tuple[str, str]]:
    brokers = [node.name for node in cluster.nodes if node.workers]
    served = [*brokers, *_names(cluster, "control")]
    used = [*_names(cluster, "control"), *_names(cluster, "core_gpu"),
            *_names(cluster, "cache"), *_names(cluster, "redis")]  # fmt: skip
    for ingress in cluster.role("ingress"):
        yield f"clients at {cluster.vip}", ingress.name
        yield from ((ingress.name, name) for name in served)
    for broker in brokers:
        yield from ((broker, name) for name in used)


def _names(cluster: Cluster, role: Any) -> list[str]:
    return [node.name for node in cluster.role(role)]


def _label(node: Node) -> str:
    return f"{node.name}\n{node.role} {node.address}"


def _quoted(text: str) -> str:
    # What JSON escapes, Graphviz escapes alike.
    return json.dumps(text, ensure_ascii=False)
