"""`okome observability …`: the files of an observability node, as the playbook puts them there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inventory.model import Cluster

app = typer.Typer(help="Print the files of an observability node.", no_args_is_help=True)

Inventory = Annotated[
    Path, typer.Option("--inventory", metavar="FILE", help="The cluster, an Ansible inventory.")
]
Node = Annotated[str, typer.Option("--node", metavar="NAME", help="Of `observability`.")]


@app.callback()
def _group() -> None:
    """Print the files of an observability node."""


@app.command()
def prometheus(
    inventory: Inventory,
    node: Node,
    rules: Annotated[str, typer.Option(metavar="FILES", help="Rules: DIR/*.yml.")],
    channel: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With tls_ca, tls_cert, tls_key for the control plane."),
    ] = None,
    exporter: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="That runs: node, redis, postgres.")
    ] = None,
    alertmanagers: Annotated[bool, typer.Option(help="Send alerts to the nodes'.")] = True,
    interval: Annotated[int, typer.Option(min=1, max=60, help="Seconds.")] = 15,
) -> None:
    """Print prometheus.yml."""
    from typing import cast, get_args

    from inventory.tls import TlsFiles
    from observability.scraping import ChannelFiles, Exporter, Scraping, render
    from okome.errors import OkomeError

    cluster = _cluster(inventory, node)
    kinds = exporter or []
    if unknown := set(kinds) - set(get_args(Exporter)):
        raise OkomeError(f"--exporter {min(unknown)}: expected {', '.join(get_args(Exporter))}")
    files = TlsFiles(*(channel / f"tls_{n}" for n in TlsFiles._fields)) if channel else None
    scraping = Scraping(
        rules=Path(rules),
        interval_s=interval,
        channel=ChannelFiles(files.ca, files.cert, files.key) if files else None,
        exporters=frozenset(cast(list[Exporter], kinds)),
        alertmanagers=alertmanagers,
    )
    typer.echo(render(cluster, cluster.node(node), scraping), nl=False)


@app.command()
def datasources(
    inventory: Inventory,
    node: Node,
    loki: Annotated[
        str | None, typer.Option(metavar="URL", help="Where it is, if it is there.")
    ] = None,
    interval: Annotated[int, typer.Option(min=1, max=60, help="Seconds between scrapes.")] = 15,
) -> None:
    """Print Grafana's provisioning of data sources."""
    from observability.boards import grafana

    found = _cluster(inventory, node).node(node)
    url = f"http://{found.address}:{found.port}"
    typer.echo(grafana.datasources(url, loki, interval), nl=False)


@app.command()
def providers(
    directory: Annotated[str, typer.Option(metavar="DIR", help="Where the dashboards lie.")],
) -> None:
    """Print Grafana's provisioning of dashboards."""
    from observability.boards import grafana

    typer.echo(grafana.providers(directory), nl=False)


def _cluster(inventory: Path, node: str) -> Cluster:
    """Raises OkomeError for a node that does not observe."""
    from inventory.load import load_cluster
    from okome.errors import OkomeError

    cluster = load_cluster(inventory)
    if node not in {one.name for one in cluster.role("observability")}:
        raise OkomeError(f"{inventory}: {node} is no node of the group `observability`")
    return cluster
