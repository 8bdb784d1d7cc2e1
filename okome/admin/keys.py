"""`okome key`."""

from __future__ import annotations

from typing import Annotated

import typer

from okome.admin.options import AsJson, UserName, group

app = group("API keys of any user, and the key that signs session tokens.")

COLUMNS = ("id", "name", "prefix", "scopes", "created_at", "expires_at")


@app.command()
def add(
    context: typer.Context,
    user: UserName,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="generate or keys; repeatable; default: both."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Expires in so many days.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: this once, only its hash is kept."""
    import time
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import remark, show

    body: dict[str, object] = {"name": name, "scopes": scope or None}
    if days is not None:
        body["expires_at"] = time.time() + days * 86_400
    with connect(context.obj) as admin:
        made = admin.post(f"/users/{quote(user, safe='')}/keys", body)
    show(made, made["key"], as_json)
    if not as_json:
        remark(f"This is {made['id']} of {user}; the key is not shown again.")


@app.command("list")
def list_keys(context: typer.Context, user: UserName, as_json: AsJson = False) -> None:
    """Show a user's keys, without the keys themselves."""
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import rows, show

    with connect(context.obj) as admin:
        answer = admin.get(f"/users/{quote(user, safe='')}/keys")
    show(answer, rows(answer["keys"], COLUMNS), as_json)


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `okome key list` says.")],
) -> None:
    """End a key and everything that was made from it, everywhere within seconds."""
    from urllib.parse import quote

    from okome.admin.client import connect

    with connect(context.obj) as admin:
        admin.delete(f"/keys/{quote(key_id, safe='')}")
    typer.echo(f"{key_id} opens nothing any more")


@app.command("rotate-signing")
def rotate_signing(
    context: typer.Context,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="The old key leaked: what it signed counts for nothing from now."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign session tokens with a new key. Brokers learn it first, so nobody is signed out."""
    from okome.admin.client import connect, credentials_of
    from okome.admin.rotation import rotate
    from okome.admin.show import remark, show

    with connect(context.obj) as admin:
        answer = rotate(credentials_of(context.obj), admin, at_once=at_once, tell=remark)
    show(answer, f"{answer['signs']} signs now", as_json)
