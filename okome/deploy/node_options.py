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
    node: Node,
    admission: Annotated[
        str, typer.Option(metavar="JSON", help="Who may come in: ssh_port, ssh, operators, …")
    ] = "{}",
) -> None:
    """Print its nftables rules."""
    from okome.deploy import nodes

    typer.echo(nodes.firewall(inventory, node, admission), nl=False)


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
