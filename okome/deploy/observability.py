"""`okome observability …`: the files of an observability node, as the playbook puts them there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inventory.model import Cluster
    from inventory.model import Node as ClusterNode

app = typer.Typer(help="Print the files of an observability node.", no_args_is_help=True)

Inventory = Annotated[
    Path, typer.Option("--inventory", metavar="FILE", help="The cluster, an Ansible inventory.")
]
Node = Annotated[str, typer.Option("--node", metavar="NAME", help="Of `observability`.")]
Config = Annotated[Path, typer.Option(metavar="FILE", help="Its configuration.")]
Data = Annotated[Path, typer.Option(metavar="DIR", help="Where it keeps what it has.")]


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
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With a node exporter; default: all but .30 and .19."),
    ] = None,
    alertmanagers: Annotated[bool, typer.Option(help="Send alerts to the nodes'.")] = True,
    interval: Annotated[int, typer.Option(min=1, max=60, help="Seconds.")] = 15,
) -> None:
    """Print prometheus.yml."""
    from typing import cast, get_args

    from inventory.tls import TlsFiles
    from observability.scraping import ChannelFiles, Exporter, Scraping, render
    from okome.errors import OkomeError

    cluster, found = _find(inventory, node)
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
        hosts=frozenset(host) if host else None,
    )
    typer.echo(render(cluster, found, scraping), nl=False)


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

    _, found = _find(inventory, node)
    url = f"http://{found.address}:{found.port}"
    typer.echo(grafana.datasources(url, loki, interval), nl=False)


@app.command()
def providers(
    directory: Annotated[str, typer.Option(metavar="DIR", help="Where the dashboards lie.")],
) -> None:
    """Print Grafana's provisioning of dashboards."""
    from observability.boards import grafana

    typer.echo(grafana.providers(directory), nl=False)


@app.command("prometheus-arguments")
def prometheus_arguments(
    inventory: Inventory,
    node: Node,
    config: Config,
    data: Data,
    days: Annotated[int, typer.Option(min=1, help="Figures are kept for.")] = 15,
    megabytes: Annotated[int, typer.Option(min=64, help="Figures take at most.")] = 2048,
) -> None:
    """Print the arguments of its Prometheus, one a line."""
    from observability.scraping import Retention, arguments

    _, found = _find(inventory, node)
    listen = f"{found.address}:{found.port}"
    said = arguments(config, data, listen, Retention(days=days, megabytes=megabytes))
    typer.echo("\n".join(said))


@app.command()
def alertmanager() -> None:
    """Print alertmanager.yml; who is told is read from standard input, as JSON: webhooks,
    mail, dead_mans_switch, repeat_h."""
    import sys

    import msgspec

    from observability.alerting import Receivers, render
    from okome.errors import OkomeError

    try:
        receivers = msgspec.json.decode(sys.stdin.buffer.read() or b"{}", type=Receivers)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise OkomeError(f"who is told of alerts: {error}") from error
    typer.echo(render(receivers), nl=False)


@app.command("alertmanager-arguments")
def alertmanager_arguments(inventory: Inventory, node: Node, config: Config, data: Data) -> None:
    """Print the arguments of its Alertmanager, one a line."""
    from observability.alerting import arguments

    typer.echo("\n".join(arguments(*_find(inventory, node), config, data)))


@app.command("redis-passwords")
def redis_passwords(
    inventory: Inventory,
    credentials: Annotated[Path, typer.Option(metavar="DIR", help="Of `okome secrets`.")],
) -> None:
    """Print the passwords of every Redis as the exporter reads them."""
    import json

    from inventory.load import load_cluster
    from okome.errors import OkomeError

    cluster = load_cluster(inventory)
    try:
        log = (credentials / "redis_password").read_text(encoding="utf-8").strip()
        cache = (credentials / "cache_password").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OkomeError(f"{error.filename}: cannot be read: {error.strerror}") from error
    found = {f"redis://{store.name}": log for store in cluster.log_stores()}
    found |= {f"redis://{node.address}:{node.port}": cache for node in cluster.role("cache")}
    typer.echo(json.dumps(found, indent=1))


@app.command()
def loki(
    inventory: Inventory,
    node: Node,
    data: Data,
    days: Annotated[int, typer.Option(min=1, help="Lines are kept for.")] = 7,
) -> None:
    """Print the configuration of its Loki."""
    from observability.shipping import loki as render

    _, found = _find(inventory, node)
    typer.echo(render(found, data, days), nl=False)


@app.command()
def alloy(
    inventory: Inventory,
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Any.")],
) -> None:
    """Print the configuration of a node's Alloy, which sends its journal to both Lokis."""
    from observability.shipping import alloy as render
    from okome.deploy.nodes import find

    typer.echo(render(*find(inventory, node)), nl=False)


def _find(inventory: Path, name: str) -> tuple[Cluster, ClusterNode]:
    from inventory.load import load_cluster
    from okome.errors import OkomeError

    cluster = load_cluster(inventory)
    for node in cluster.role("observability"):
        if node.name == name:
            return cluster, node
    raise OkomeError(f"{inventory}: {name} is no node of the group `observability`")
