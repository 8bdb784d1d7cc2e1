"""What the admin commands have in common. Imports nothing heavy: `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Inventory = Annotated[
    Path | None,
    typer.Option("--inventory", metavar="FILE", help="The cluster, if not the one-machine one."),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="OKOME_CONTROL_URL",
        metavar="URL",
        help="Control plane; default: that of the cluster which runs here.",
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        envvar="OKOME_CREDENTIALS",
        metavar="DIR",
        help="Directory with the file admin_key, and tls_cert, tls_key and tls_ca where the "
        "control plane wants mutual TLS; default: that of the cluster.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name or id of a user.")]
OfUser = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="Name or id of a user; default: all.")
]


@dataclass(frozen=True, slots=True)
class Where:
    """Which control plane, as the options say."""

    inventory: Path | None = None
    url: str | None = None
    credentials: Path | None = None


def group(help_text: str) -> typer.Typer:
    """A group of commands whose own options say which control plane is meant."""
    app = typer.Typer(help=help_text, no_args_is_help=True)

    @app.callback()
    def _where(
        context: typer.Context,
        inventory: Inventory = None,
        url: Url = None,
        credentials: Credentials = None,
    ) -> None:
        context.obj = Where(inventory, url, credentials)

    _where.__doc__ = help_text
    return app
