"""`okome session`."""

from __future__ import annotations

from typing import Annotated

import typer

from okome.admin.options import AsJson, OfUser, group

app = group("Browsers that are signed in.")

COLUMNS = ("id", "user", "method", "created_at", "seen_at", "expires_at")


@app.command("list")
def list_logins(context: typer.Context, user: OfUser = None, as_json: AsJson = False) -> None:
    """Show who is signed in, the one seen last first."""
    from okome.admin.client import connect
    from okome.admin.show import rows, show

    with connect(context.obj) as admin:
        answer = admin.get("/logins", user=user)
    show(answer, rows(answer["logins"], COLUMNS), as_json)


@app.command()
def end(
    context: typer.Context,
    login_id: Annotated[
        str | None, typer.Argument(metavar="[LOGIN_ID]", help="As `okome session list` says.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="All of this user's.")
    ] = None,
) -> None:
    """End one login, or all of a user's, everywhere within seconds. Keys stay."""
    from urllib.parse import quote

    from okome.admin.client import connect

    if (login_id is None) == (user is None):
        raise typer.BadParameter("name a LOGIN_ID, or --user")
    with connect(context.obj) as admin:
        if user is not None:
            ended = admin.delete(f"/users/{quote(user, safe='')}/logins")["ended"]
            typer.echo(f"{user} is signed out everywhere ({ended} logins)")
        else:
            admin.delete(f"/logins/{quote(login_id or '', safe='')}")
            typer.echo(f"{login_id} has ended")
