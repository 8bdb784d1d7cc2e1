"""`okome bundle`, `okome secrets`, `okome verify`, `okome ingress …`, `okome inventory …`."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

ingress_app = typer.Typer(
    help="Print the files of an ingress node, as the playbook does.", no_args_is_help=True
)
inventory_app = typer.Typer(
    help="Check and show an inventory, as OKOME reads it.", no_args_is_help=True
)

Inventory = Annotated[
    Path, typer.Option("--inventory", metavar="FILE", help="The cluster, an Ansible inventory.")
]
Described = Annotated[Path, typer.Argument(metavar="FILE", help="An Ansible inventory.")]
CLUSTER = Path("inventory/cluster.yml")
Node = Annotated[str, typer.Option("--node", metavar="NAME", help="Of the group `ingress`.")]


def bundle(
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: bundle/ in OKOME's cache.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="SYSTEM", help="debian-12 (default) or ubuntu-24.04, also -arm64."),
    ] = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="With the embedded engine and its model.")
    ] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="With the newest packages of others, not those of before."),
    ] = False,
) -> None:
    """Gather all that nodes install, here: they need no internet then."""
    from okome.deploy.bundle import make_bundle
    from okome.deploy.wheels import TARGETS
    from okome.errors import OkomeError
    from okome.paths import cache_dir

    cache = cache_dir(os.environ)
    wanted = target or ["debian-12"]
    for name in wanted:
        if name not in TARGETS:
            raise OkomeError(f"--target {name}: expected one of {', '.join(TARGETS)}")
    place = output or cache / "bundle"
    targets = [TARGETS[name] for name in wanted]
    typer.echo(f"{make_bundle(targets, engine, place, cache, typer.echo, anew)} in {place}")


def secrets(
    inventory: Inventory,
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where they are kept.")],
) -> None:
    """Make what is missing of a cluster's secrets and certificates. Prints what was made."""
    from inventory.load import load_cluster
    from okome.deploy.secrets import ensure_secrets

    cluster = load_cluster(inventory)
    for name in ensure_secrets(cluster, directory, datetime.datetime.now(datetime.UTC)):
        typer.echo(f"made {name}")


def verify(
    inventory: Inventory,
    directory: Annotated[
        Path, typer.Option("--secrets", metavar="DIR", help="As `okome secrets` made it.")
    ],
    browser: Annotated[
        str, typer.Option(metavar="auto|yes|no", help="A chat in Chromium; auto: if it is here.")
    ] = "auto",
) -> None:
    """Check a deployed cluster as its clients see it, through the VIP."""
    from inventory.load import load_cluster
    from okome.deploy.verify import verify as run

    if browser not in ("auto", "yes", "no"):
        raise typer.BadParameter("--browser is auto, yes or no")
    run(load_cluster(inventory), directory, typer.echo, browser)  # type: ignore[arg-type]


@ingress_app.command()
def haproxy(
    inventory: Inventory,
    node: Node,
    settings: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="At once, of an address.")] = 256,
    requests: Annotated[int, typer.Option(min=1, help="In 10 s, of an address or key.")] = 1000,
    jobs: Annotated[int, typer.Option(min=1, help="New ones in 60 s, of a key.")] = 120,
) -> None:
    """Print haproxy.cfg."""
    from ingress.edge import Rates
    from okome.deploy import ingress

    rates = Rates(connections=connections, requests=requests, jobs=jobs)
    typer.echo(ingress.haproxy(inventory, node, settings, rates), nl=False)


@ingress_app.command()
def keepalived(
    inventory: Inventory,
    node: Node,
    interface: Annotated[str, typer.Option(metavar="NAME", help="Where its network is.")],
) -> None:
    """Print keepalived.conf."""
    from okome.deploy import ingress

    typer.echo(ingress.vrrp(inventory, node, interface), nl=False)


@ingress_app.command("check")
def ingress_check(inventory: Inventory, node: Node) -> None:
    """Print the script by which keepalived finds out whether the node may hold the VIP."""
    from okome.deploy import ingress

    typer.echo(ingress.check(inventory, node), nl=False)


@inventory_app.command("check")
def inventory_check(
    file: Described = CLUSTER,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings that are checked too.")
    ] = None,
) -> None:
    """Name everything that is wrong with an inventory, each with file and line."""
    from inventory.load import InventoryError, load_cluster
    from inventory.settings import load_settings

    try:
        cluster = load_cluster(file)
    except InventoryError as error:
        for line in error.lines:
            typer.echo(line, err=True)
        raise typer.Exit(1) from error
    load_settings(file=settings)
    typer.echo(f"{file}: {cluster.name}, {len(cluster.nodes)} nodes; nothing is wrong with it")


@inventory_app.command("show")
def inventory_show(
    file: Described = CLUSTER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show every node: its role, its address and what listens there."""
    from inventory.load import load_cluster
    from okome.commands import print_json
    from okome.deploy import inventory

    cluster = load_cluster(file)
    if as_json:
        print_json(inventory.as_json(cluster))
    else:
        typer.echo(inventory.as_table(cluster))


@inventory_app.command("graph")
def inventory_graph(
    file: Described = CLUSTER,
    dot: Annotated[
        bool, typer.Option("--dot", help="Who connects to whom, for Graphviz, not the groups.")
    ] = False,
) -> None:
    """Draw the groups and their nodes as a tree."""
    from inventory.load import load_cluster
    from okome.deploy import inventory

    cluster = load_cluster(file)
    typer.echo(inventory.as_dot(cluster) if dot else inventory.as_tree(cluster))
