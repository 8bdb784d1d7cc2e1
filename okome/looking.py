"""`okome top` and `okome dash`: for people who look on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inventory = Annotated[
    Path | None,
    typer.Option("--inventory", metavar="FILE", help="Default: the one-machine cluster."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def top(
    once: Annotated[bool, typer.Option("--once", help="One picture, and end.")] = False,
    as_json: AsJson = False,
    interval: Annotated[
        float, typer.Option(min=1, max=60, metavar="SECONDS", help="Between two looks.")
    ] = 2.0,
    inventory: Inventory = None,
) -> None:
    """Watch streams, time to first token, jitter and queues of every broker, live; `q` ends it.

    With --once or --json: what happens within one interval; exit status 1 if a broker is away.
    """
    from okome.commands import print_json
    from okome.top.run import run

    if not run(inventory, once, interval, print_json if as_json else None):
        raise typer.Exit(1)


def dash(inventory: Inventory = None) -> None:
    """Print where the dashboard page is: the figures of the last minutes and days, and alerts."""
    from okome.dash import pages

    for page in pages(inventory):
        typer.echo(page)
