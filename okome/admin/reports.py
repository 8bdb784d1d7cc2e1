"""`okome usage` and `okome audit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from okome.admin.options import AsJson, Credentials, Inventory, OfUser, Url, Where

if TYPE_CHECKING:
    from okome.admin.client import Admin

SUMS = (
    "user_id",
    "user",
    "model",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "estimated",
)
JOBS = (
    "job_id",
    "user_id",
    "user",
    "model",
    "engine",
    "node",
    "outcome",
    "code",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "estimated",
    "created_at",
    "ended_at",
)
LINES = ("id", "at", "actor", "action", "subject", "outcome", "detail")


def usage(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="UTC; default: this month.")
    ] = None,
    user: OfUser = None,
    jobs: Annotated[bool, typer.Option("--jobs", help="Job by job, not summed.")] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json", help="How to print it.")
    ] = "table",
    as_json: AsJson = False,
    inventory: Inventory = None,
    url: Url = None,
    credentials: Credentials = None,
) -> None:
    """Show what was used in a month, per user and model, for bills."""
    from okome.admin.client import connect
    from okome.admin.show import csv_text, rows, show

    form = "json" if as_json else form
    if form not in ("table", "csv", "json"):
        raise typer.BadParameter("--format is table, csv or json")
    with connect(Where(inventory, url, credentials)) as admin:
        if jobs:
            entries: list[dict[str, Any]] = list(_all_jobs(admin, month, user))
            answer: dict[str, Any] = {"jobs": entries}
        else:
            answer = admin.get("/usage", month=month, user=user)
            entries = answer["usage"]
    columns = JOBS if jobs else SUMS
    if form == "csv":
        typer.echo(csv_text(entries, columns), nl=False)
    else:
        show(answer, rows(entries, columns), form == "json")


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many lines.")] = 50,
    actor: Annotated[
        str | None, typer.Option(metavar="ID", help="A user's id, admin, or nobody.")
    ] = None,
    action: Annotated[str | None, typer.Option(metavar="WORD", help="As login, key.add.")] = None,
    as_json: AsJson = False,
    inventory: Inventory = None,
    url: Url = None,
    credentials: Credentials = None,
) -> None:
    """Show who did, or was refused, what; the newest first."""
    from okome.admin.client import connect
    from okome.admin.show import rows, show

    with connect(Where(inventory, url, credentials)) as admin:
        answer = admin.get("/audit", limit=limit, actor=actor, action=action)
    show(answer, rows(answer["audit"], LINES), as_json)


def _all_jobs(admin: Admin, month: str | None, user: str | None) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = admin.get("/usage/jobs", month=month, user=user, after=after)
        # By its name from now on: a month may end between two pages.
        month, after = page["month"], page["next"]
        yield from page["jobs"]
        if after is None:
            return
