"""The `okome` command. Nothing is imported before a command needs it: `--help` is quick."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from okome import looking
from okome.admin import engines, keys, logins, policies, quotas, reports, users
from okome.deploy import node_options as nodes
from okome.deploy import observability
from okome.deploy import options as deploy

app = typer.Typer(
    name="okome",
    help="Stream LLM tokens on a LAN. `okome up` runs a whole cluster on this machine: ingress, "
    "four brokers, control plane, log and a real engine, each a process of its own.",
    epilog="Exit status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

redis_app = typer.Typer(
    help="The log's Redis Cluster, where the durability is `replicated`.", no_args_is_help=True
)
app.add_typer(redis_app, name="redis")
app.add_typer(deploy.ingress_app, name="ingress")
app.add_typer(observability.app, name="observability")
app.add_typer(deploy.inventory_app, name="inventory")
app.add_typer(nodes.app, name="node")
app.add_typer(users.app, name="user")
app.add_typer(keys.app, name="key")
app.add_typer(quotas.app, name="quota")
app.add_typer(engines.app, name="engine")
app.add_typer(logins.app, name="session")
app.add_typer(policies.app, name="policy")

Inventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        metavar="FILE",
        help="Cluster to run, an Ansible inventory; default: the one-machine cluster.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Target = Annotated[str, typer.Argument(metavar="NODE[/ROLE]", help="As `okome status` names it.")]

RedisProcess = Annotated[
    str, typer.Argument(metavar="ADDRESS:PORT", help="One Redis of the inventory.")
]
PasswordFile = Annotated[
    Path | None, typer.Option("--password", metavar="FILE", help="Holds the Redis password.")
]


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once every node is ready.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Use this engine, not the embedded one."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="vllm|ollama|tf_serving", help="API of the engine at URL.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model to use of the engine at URL.")
    ] = None,
    context: Annotated[
        int, typer.Option(min=1, metavar="N", help="Context of that model, in tokens.")
    ] = 8192,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One setting; see `okome settings`."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings, as YAML.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Policy, as YAML; default: okome/policy.yml in the configuration directory "
            "(XDG_CONFIG_HOME), if it is there.",
        ),
    ] = None,
    inventory: Inventory = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Start the cluster; Ctrl-C ends it. With --detach it stays until `okome down`."""
    from inventory.load import LOCAL
    from okome.derive import parse_engine
    from okome.prepare import Options

    if (engine is None) != (kind is None) or (engine is None) != (model is None):
        raise typer.BadParameter("--engine, --kind and --model belong together")
    options = Options(
        inventory=(inventory or LOCAL).absolute(),
        settings=settings.absolute() if settings else None,
        policy=policy.absolute() if policy else None,
        assignments=tuple(assignments or ()),
        engine=parse_engine(engine, kind, model, context) if engine and kind and model else None,
    )
    if detach and ready_fd is None:
        from okome.detach import run_detached

        raise typer.Exit(run_detached(sys.argv[1:]))
    from okome.up import up as run

    run(options, os.environ, ready_fd)


@app.command()
def down(inventory: Inventory = None) -> None:
    """End every process of the cluster."""
    from okome.commands import end

    typer.echo(end(inventory))


@app.command()
def status(as_json: AsJson = False, inventory: Inventory = None) -> None:
    """Show every process: where it listens, whether it is healthy, its pid and state."""
    from okome.commands import ask_running, print_json
    from okome.table import status_table

    answer = ask_running(inventory, {"op": "status"})
    if as_json:
        print_json(answer)
    else:
        typer.echo(status_table(answer))


@app.command()
def logs(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="One node; default: all of them.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines to show.")] = 20,
    job: Annotated[
        str | None,
        typer.Option(metavar="ID", help="All that any process wrote of this job, in order."),
    ] = None,
    loki: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --job: ask this Loki. Without: the logs of the cluster on this machine, or "
            "this node's journal.",
        ),
    ] = None,
    hours: Annotated[int, typer.Option(min=1, help="With --job: how far back.")] = 24,
    as_json: AsJson = False,
    inventory: Inventory = None,
) -> None:
    """Show what processes wrote. The supervisor's own log is called `supervisor`."""
    if job is not None:
        from okome.job_logs import show_job

        show_job(inventory, job, loki, hours, as_json)
        return
    from okome.commands import show_logs

    show_logs(inventory, node, lines, follow)


@app.command("log-level")
def log_level(
    target: Target,
    level: Annotated[
        str, typer.Argument(metavar="debug|usual", help="`usual`: as the setting says.")
    ],
    inventory: Inventory = None,
) -> None:
    """Have a running broker or control plane write everything, or only the usual again."""
    from okome.job_logs import change_level

    change_level(inventory, target, level)
    typer.echo(f"{target} writes {'everything' if level == 'debug' else 'the usual'} now")


@app.command()
def doctor(as_json: AsJson = False, inventory: Inventory = None) -> None:
    """Check whether this machine can run the cluster, and say how to mend what is wrong. With
    the inventory of a cluster elsewhere: whether it can be deployed, and its certificates."""
    from okome.commands import print_json
    from okome.doctor import examine, findings_json, findings_text

    findings = examine(inventory, os.environ, datetime.datetime.now(datetime.UTC))
    if as_json:
        print_json(findings_json(findings))
    else:
        typer.echo(findings_text(findings))
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)


@app.command()
def stop(target: Target, inventory: Inventory = None) -> None:
    """Kill a node's process (-9) and hold it down until `okome start`."""
    _act("stop", target, inventory, f"{target} is stopped; `okome start {target}` brings it back")


@app.command()
def start(target: Target, inventory: Inventory = None) -> None:
    """Bring a stopped or drained node back; returns when it is ready."""
    _act("start", target, inventory, f"{target} is ready")


@app.command()
def drain(target: Target, inventory: Inventory = None) -> None:
    """Let a broker finish: no new jobs, clients move on, then it ends and is held down."""
    _act("drain", target, inventory, f"{target} is draining; `okome status` shows when it ended")


@app.command()
def url(inventory: Inventory = None) -> None:
    """Print a fresh link to the chat page that signs the browser in."""
    from okome.commands import ask_running

    typer.echo(ask_running(inventory, {"op": "url"})["url"])


@app.command()
def settings(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """List every setting with its default. Set one by --set, an OKOME_ variable or a file."""
    from okome.commands import print_json
    from okome.settings_doc import settings_json, settings_markdown, settings_table

    if as_json:
        print_json(settings_json())
    else:
        typer.echo(settings_markdown() if markdown else settings_table(), nl=False)


app.command()(looking.top)
app.command()(looking.dash)
app.command()(reports.usage)
app.command()(reports.audit)
app.command()(deploy.bundle)
app.command()(deploy.secrets)
app.command()(deploy.verify)


@redis_app.command("config")
def redis_config(
    process: RedisProcess,
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where it keeps its files.")],
    password: PasswordFile = None,
    inventory: Inventory = None,
) -> None:
    """Print the redis.conf of one process."""
    from okome.redis_commands import config

    typer.echo(config(inventory, process, directory, password), nl=False)


@redis_app.command("configs")
def redis_configs(
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Theirs, by port, are in it.")],
    password: PasswordFile = None,
    inventory: Inventory = None,
) -> None:
    """Print the redis.conf of every process, as JSON by address and port."""
    from okome.commands import print_json
    from okome.redis_commands import configs

    print_json(configs(inventory, directory, password))


@redis_app.command("form")
def redis_form(
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long it may take.")] = 30.0,
    password: PasswordFile = None,
    inventory: Inventory = None,
) -> None:
    """Make one cluster of the running processes: meet, share the slots, replicate. Repeatable."""
    from okome.redis_commands import form

    form(inventory, password, timeout)
    typer.echo("formed: every home has its slots, and replicas that are in sync")


@redis_app.command("tend")
def redis_tend(
    node: Annotated[
        str | None, typer.Option(metavar="NODE", help="See to this node's processes only.")
    ] = None,
    password: PasswordFile = None,
    inventory: Inventory = None,
) -> None:
    """Form the cluster and stay: take in what comes back, give homes their slots back."""
    from okome.redis_commands import tend

    tend(inventory, password, node, typer.echo)


@redis_app.command("await-replaced")
def redis_await_replaced(
    process: RedisProcess, password: PasswordFile = None, inventory: Inventory = None
) -> None:
    """Return once a process that is down may be started: before it, started empty, would
    take its replicas' data with it. For systemd's ExecStartPre."""
    from okome.redis_commands import await_replaced

    await_replaced(inventory, password, process, typer.echo)


def _act(operation: str, target: str, inventory: Path | None, done: str) -> None:
    from okome.commands import ask_running

    ask_running(inventory, {"op": operation, "target": target})
    typer.echo(done)


def main() -> None:
    """Runs the command. What a person can mend is told in one line, with exit status 1."""
    try:
        app(prog_name="okome")
    except Exception as error:
        if not _is_told(error):
            raise
        # One line, also where a parser's own message has several.
        print(f"okome: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def _is_told(error: Exception) -> bool:
    # Imported only now: a command that goes well never needs all three.
    from inventory.load import InventoryError
    from inventory.settings import SettingsError
    from okome.errors import OkomeError

    known: tuple[Any, ...] = (OkomeError, InventoryError, SettingsError)
    return isinstance(error, known)
