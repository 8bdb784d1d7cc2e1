"""`okome node …`: the files of nodes, as the playbook puts them there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Print the files of a node, as the playbook does.", no_args_is_help=True)

Inventory = Annotated[
    Path, typer.Option("--inventory", metavar="FILE", help="The cluster, an Ansible inventory.")
]
Node = Annotated[str, typer.Option("--node", metavar="NAME", help="Of the inventory.")]


@app.command()
def firewall(
    inventory: Inventory,
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Of one only.")] = "",
) -> None:
    """Print nftables rules: of one node; or, as JSON, of those that are named on standard input
    with who may come in there, as `{"NODE": {"ssh_port": 22, "operators": ["192.168.86.7"]}}`."""
    import json
    import sys

    from okome.deploy import nodes

    if node:
        typer.echo(nodes.firewalls(inventory, json.dumps({node: {}}).encode())[node], nl=False)
        return
    typer.echo(json.dumps(nodes.firewalls(inventory, sys.stdin.buffer.read())))


@app.command()
def certificates(
    inventory: Inventory,
    directory: Annotated[
        Path, typer.Option("--secrets", metavar="DIR", help="As `okome secrets` made it.")
    ],
) -> None:
    """Print until when the certificates of each node are valid: JSON, by the node's name a text
    for its node exporter."""
    import json

    from inventory.load import load_cluster
    from okome.deploy.certificates import figures, of_node

    nodes = load_cluster(inventory).nodes
    typer.echo(json.dumps({node.name: figures(of_node(node, directory)) for node in nodes}))


@app.command()
def cache(
    inventory: Inventory,
    node: Node,
    password: Annotated[Path, typer.Option(metavar="FILE", help="Holds its password.")],
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where it may write.")],
    memory: Annotated[str, typer.Option(metavar="SIZE", help="At most, as 512mb.")] = "64mb",
) -> None:
    """Print the redis.conf of the hot cache."""
    from okome.deploy import nodes

    typer.echo(nodes.cache(inventory, node, password, directory, memory), nl=False)
