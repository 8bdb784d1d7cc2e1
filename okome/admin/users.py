"""`okome user`."""

from __future__ import annotations

from typing import Annotated

import typer

from okome.admin.options import AsJson, UserName, group

app = group("Who may come in. A user has API keys, and a password if it is given one.")

Stdin = Annotated[
    bool, typer.Option("--stdin", help="Read the password's line from standard input.")
]
COLUMNS = ("name", "id", "tier", "has_password", "created_at", "disabled_at")


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="a-z 0-9 . _ @ + -, up to 64.")],
    tier: Annotated[str, typer.Option(metavar="TIER", help="What it is allowed.")] = "standard",
    password: Annotated[bool, typer.Option("--password", help="Ask for a password.")] = False,
    stdin: Stdin = False,
    as_json: AsJson = False,
) -> None:
    """Make a user. `okome key add` gives it a key, --password lets it sign in."""
    from okome.admin.client import connect
    from okome.admin.secret import read_password
    from okome.admin.show import rows, show

    body: dict[str, object] = {"name": name, "tier": tier}
    if password or stdin:
        body["password"] = read_password(stdin)
    with connect(context.obj) as admin:
        made = admin.post("/users", body)
    show(made, rows([made], COLUMNS), as_json)


@app.command("list")
def list_users(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every user."""
    from okome.admin.client import connect
    from okome.admin.show import rows, show

    with connect(context.obj) as admin:
        answer = admin.get("/users")
    show(answer, rows(answer["users"], COLUMNS), as_json)


@app.command()
def disable(context: typer.Context, user: UserName, as_json: AsJson = False) -> None:
    """Lock a user out: its keys open nothing, its logins end, everywhere within seconds."""
    _change(context, user, {"disabled": True}, as_json)


@app.command()
def enable(context: typer.Context, user: UserName, as_json: AsJson = False) -> None:
    """Let a user in again. Its keys count again; it signs in anew."""
    _change(context, user, {"disabled": False}, as_json)


@app.command()
def tier(
    context: typer.Context,
    user: UserName,
    tier: Annotated[str, typer.Argument(metavar="TIER", help="See `okome quota show`.")],
    as_json: AsJson = False,
) -> None:
    """Move a user to another tier."""
    _change(context, user, {"tier": tier}, as_json)


@app.command()
def password(
    context: typer.Context,
    user: UserName,
    stdin: Stdin = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the password away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a user another password, asked for here. All of its logins end."""
    from okome.admin.secret import read_password

    given = None if remove else read_password(stdin)
    _change(context, user, {"password": given}, as_json)


def _change(context: typer.Context, user: str, change: dict[str, object], as_json: bool) -> None:
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import rows, show

    with connect(context.obj) as admin:
        answer = admin.patch(f"/users/{quote(user, safe='')}", change)
    show(answer, rows([answer], COLUMNS), as_json)
