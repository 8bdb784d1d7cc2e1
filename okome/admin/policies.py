"""`okome policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from okome.admin.options import AsJson, Inventory, group

app = group("The policy: models, aliases, tiers, limits, tools.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy file.")]


@app.command()
def check(
    context: typer.Context, file: File, inventory: Inventory = None, as_json: AsJson = False
) -> None:
    """Say everything that is wrong with a file, a line for each fault; exit status 1 with any.

    Its engines must be in the inventory: the given one, else that of the cluster which runs
    here, else the one-machine cluster's.
    """
    from inventory.load import LOCAL
    from okome.admin.show import remark
    from okome.commands import paths_of, print_json
    from okome.policy_check import check_policy, fault_lines

    named = inventory or context.obj.inventory
    running = paths_of(None).inventory
    checked = check_policy(file, named or (running if running.exists() else LOCAL))
    if as_json:
        print_json(checked)
    elif not checked["faults"]:
        print(f"{file} can be used; its version is {checked['version']}")
    for line in [] if as_json else fault_lines(checked):
        remark(line)
    if checked["faults"]:
        raise typer.Exit(1)


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the policy that holds: its version, where it is from, since when, what it says."""
    from okome.admin.client import connect
    from okome.admin.policy_text import policy_text
    from okome.admin.show import show as print_answer

    with connect(context.obj) as admin:
        answer = admin.get("/policy")
    print_answer(answer, policy_text(answer), as_json)


@app.command()
def diff(context: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Show what would change if this file held. Exit status 1 where it cannot be used."""
    from okome.admin.client import connect
    from okome.admin.policy_text import changes_text
    from okome.admin.show import remark
    from okome.admin.show import show as print_answer
    from okome.errors import OkomeError

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise OkomeError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OkomeError(f"{file}: is not UTF-8 text") from error
    with connect(context.obj) as admin:
        answer = admin.post("/policy/diff", {"file": str(file), "text": text})
    if as_json or not answer["faults"]:
        print_answer(answer, changes_text(answer), as_json)
    for line in [] if as_json else answer["faults"]:
        remark(line)
    if answer["faults"]:
        raise typer.Exit(1)
