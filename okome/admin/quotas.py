"""`okome quota`."""

from __future__ import annotations

from typing import Annotated

import typer

from okome.admin.options import AsJson, group

app = group("What users and tiers may use: streams at once, requests and tokens.")

LIMITS = ("streams", "requests_day", "tokens_day", "requests_month", "tokens_month")
User = Annotated[str | None, typer.Option("--user", metavar="USER", help="Name or id.")]
Tier = Annotated[str | None, typer.Option("--tier", metavar="TIER", help="Name of a tier.")]
Limit = Annotated[str | None, typer.Option(metavar="N|none", help="A number, or none.")]


@app.command()
def show(context: typer.Context, user: User = None, as_json: AsJson = False) -> None:
    """Show every tier's limits; with --user what holds for it and what it has used."""
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import rows
    from okome.admin.show import show as print_answer

    with connect(context.obj) as admin:
        if user is None:
            answer = admin.get("/tiers")
            text = rows(answer["tiers"], ("name", *LIMITS))
        else:
            answer = admin.get(f"/users/{quote(user, safe='')}/quota")
            text = _of_user(answer)
    print_answer(answer, text, as_json)


@app.command("set")
def set_limits(
    context: typer.Context,
    user: User = None,
    tier: Tier = None,
    streams: Limit = None,
    requests_day: Limit = None,
    tokens_day: Limit = None,
    requests_month: Limit = None,
    tokens_month: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a tier (made where there is none), or of one user beside its tier's.

    `none` takes one away: a tier's is then unlimited, a user's as its tier has it.
    """
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import rows
    from okome.admin.show import show as print_answer

    if (user is None) == (tier is None):
        raise typer.BadParameter("name one of --user and --tier")
    given = (streams, requests_day, tokens_day, requests_month, tokens_month)
    changes = {
        name: _number(value) for name, value in zip(LIMITS, given, strict=True) if value is not None
    }
    if not changes:
        raise typer.BadParameter("name at least one limit")
    with connect(context.obj) as admin:
        if tier is not None:
            answer = admin.patch(f"/tiers/{quote(tier, safe='')}", changes)
            text = rows([answer], ("name", *LIMITS))
        else:
            answer = admin.patch(f"/users/{quote(user or '', safe='')}/quota", changes)
            text = _of_user(answer)
    print_answer(answer, text, as_json)


def _number(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a number nor none")
    return int(text)


def _of_user(answer: dict[str, dict[str, object]]) -> str:
    from okome.admin.show import rows

    lines = [
        {
            "what": name,
            "taken": answer["taken"][name],
            "limit": answer["limits"][name],
            "of_its_own": answer["own"][name],
        }
        for name in LIMITS
    ]
    head = f"{answer['name']}, tier {answer['tier']}"
    return f"{head}\n" + rows(lines, ("what", "taken", "limit", "of_its_own"))
