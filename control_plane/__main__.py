"""`python -m control_plane`: serves the control node of an inventory until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import ASGIApp

from control_plane.app import build_app
from control_plane.background import repeating
from control_plane.channel import RELOAD_EVERY_S, RoleConnection, RoleGuard, ServerTls
from control_plane.credentials import CredentialsError, read_credentials
from control_plane.policy_source import PolicySource
from control_plane.store.database import Database, StoreError, migrate_beside
from control_plane.store.engines import sqlite_url
from inventory.faults import FaultsError
from inventory.load import InventoryError, load_cluster
from inventory.model import Cluster
from inventory.settings import SettingsError, load_settings
from observability.collector import set_collector
from observability.logs import configure_logging, obey_signals
from observability.requests import BoundRequests
from observability.tracing import exporter_of

log = logging.getLogger("control_plane")

# The store's thread and the event loop hand over to each other for every grant. The default
# lets either keep the other waiting for 5 ms.
_SWITCH_EVERY_S: Final = 0.0005
_GRACE_S: Final = 5  # requests here take milliseconds; what is still open then is stuck


class ListenError(Exception):
    """The address of the control node cannot be used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the process; returns 0 after SIGTERM or SIGINT. What keeps it from starting is
    told in one line on stderr, and 1 returned (2 for wrong arguments)."""
    options = _parser().parse_args(arguments)
    configure_logging("info", {})
    # uvicorn raises a signal again once it has shut down; without this it would end the
    # process as killed by that signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    sys.setswitchinterval(_SWITCH_EVERY_S)
    try:
        if options.migrate:
            _migrate(options)
            return 0
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except FaultsError as error:
        for line in error.lines():
            print(f"control plane: {line}", file=sys.stderr)
        return 1
    except (InventoryError, SettingsError, CredentialsError, StoreError, ListenError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    cluster = load_cluster(options.inventory)
    settings = load_settings(options.set, os.environ, options.settings)
    credentials = read_credentials(options.credentials)
    policy = _policy(cluster, options)
    (node,) = cluster.role("control")
    configure_logging(settings.log_level, {"node": node.name})
    obey_signals(asyncio.get_running_loop(), settings.log_level)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_listen(node.address, node.port))
        database = Database(credentials.database_url or sqlite_url(options.state))
        stack.push_async_callback(database.close)
        await database.open(time.time())
        traces = exporter_of(settings, "okome-control", node.name)
        if traces is not None:
            stack.callback(traces.close)
        app = build_app(
            traces=traces,
            cluster=cluster,
            settings=settings,
            credentials=credentials,
            database=database,
            reread=partial(read_credentials, options.credentials),
            policy=policy,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, policy.reread)
        if credentials.tls is not None:
            await stack.enter_async_context(
                repeating("certificates", RELOAD_EVERY_S, credentials.tls.check)
            )
        log.info("serving on %s port %d", node.address, node.port)
        set_collector()
        config = _server_config(app, credentials.tls)
        await uvicorn.Server(config).serve(sockets=[listener])


def _migrate(options: argparse.Namespace) -> None:
    """While another process of the control plane serves, as in an upgrade."""
    credentials = read_credentials(options.credentials)
    migrate_beside(credentials.database_url or sqlite_url(options.state), time.time())


def _policy(cluster: Cluster, options: argparse.Namespace) -> PolicySource:
    """Raises FaultsError."""
    kept: Path = options.state / "policy.yml"
    # The store tells of a state directory that cannot be used.
    with suppress(OSError):
        options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if options.policy is None:
            # What was kept of a file that is no policy any more must not come back.
            kept.unlink(missing_ok=True)
    if options.policy is None:
        return PolicySource(cluster, None, time.time)
    return PolicySource(cluster, options.policy.absolute(), time.time, kept)


def _listen(address: str, port: int) -> socket.socket:
    """A bound socket. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        raise ListenError(f"cannot listen on {address} port {port}: {error.strerror}") from error


def _server_config(app: Starlette, tls: ServerTls | None) -> uvicorn.Config:
    bound = BoundRequests(app)
    served: ASGIApp = bound if tls is None else RoleGuard(bound)
    return uvicorn.Config(
        served,
        http=RoleConnection,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _leave(*_: object) -> None:
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m control_plane", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True, help="the cluster (YAML)")
    parser.add_argument("--state", type=Path, required=True, help="directory of the store")
    parser.add_argument(
        "--credentials",
        type=Path,
        required=True,
        help="directory with service_key, api_key and session_key; with tls_cert, tls_key "
        "and tls_ca too, only mutual TLS is spoken",
    )
    parser.add_argument(
        "--policy",
        type=Path,
        help="policy file (YAML), watched; SIGHUP has it read anew. Without it the inventory's "
        "models are for everybody",
    )
    parser.add_argument(
        "--migrate",
        action="store_true",
        help="bring the database to the newest schema and end, while another may serve",
    )
    parser.add_argument("--settings", type=Path, help="settings file (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting; repeatable"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
