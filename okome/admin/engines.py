"""`okome engine`."""

from __future__ import annotations

from typing import Annotated

import typer

from okome.admin.options import AsJson, group

app = group("What generates: health, load, and taking an engine out for a while.")

ENGINE = ("name", "kind", "healthy", "drained", "jobs", "slots", "running", "waiting", "gpu")
MODEL = ("engine", "model", "state", "breaker", "loaded", "context", "capabilities")
Engine = Annotated[str, typer.Argument(metavar="ENGINE", help="As `okome engine list` names it.")]


@app.command("list")
def list_engines(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every engine and its models, as the control plane knows them now."""
    from okome.admin.client import connect
    from okome.admin.show import rows
    from okome.admin.show import show as print_answer

    with connect(context.obj) as admin:
        answer = admin.get("/engines")
    engines = answer["engines"]
    models = [
        model | {"engine": engine["name"], "model": model["id"]}
        for engine in engines
        for model in engine["models"]
    ]
    print_answer(answer, f"{rows(engines, ENGINE)}\n\n{rows(models, MODEL)}", as_json)


@app.command()
def drain(context: typer.Context, engine: Engine, as_json: AsJson = False) -> None:
    """Send an engine no new jobs, also after a restart; those that run end in peace."""
    _change(context, engine, "drain", as_json)


@app.command()
def resume(context: typer.Context, engine: Engine, as_json: AsJson = False) -> None:
    """Send an engine jobs again."""
    _change(context, engine, "resume", as_json)


def _change(context: typer.Context, engine: str, verb: str, as_json: bool) -> None:
    from urllib.parse import quote

    from okome.admin.client import connect
    from okome.admin.show import rows
    from okome.admin.show import show as print_answer

    with connect(context.obj) as admin:
        answer = admin.post(f"/engines/{quote(engine, safe='')}/{verb}")
    print_answer(answer, rows([answer], ENGINE), as_json)
