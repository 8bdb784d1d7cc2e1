"""`python -m stream_broker`: one broker worker, until SIGTERM has drained it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from inventory.load import InventoryError, load_cluster
from inventory.settings import SettingsError, load_settings
from inventory.tls import tls_files
from observability.collector import set_collector
from observability.logs import configure_logging, obey_signals
from observability.requests import BoundRequests
from stream_broker.app import Broker
from stream_broker.channel import ClientTls
from stream_broker.connection import SocketConnection, StreamConnection
from stream_broker.files import make_room
from stream_broker.log.preflight import LogRefused
from stream_broker.options import Options

_KEEP_ALIVE_S = 75
# Beside a file for each viewer and one for each job: embeddings, control plane, logs, spool.
_OTHER_FILES = 1024
_BACKLOG = 4096


class _Server(uvicorn.Server):
    """uvicorn without its own signals: a drain comes first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `_serve`."""
        yield


def main(argv: list[str] | None = None) -> int:
    """Runs a worker. Returns the exit status: 2 for bad input, with one line that says why."""
    arguments = _parser().parse_args(argv)
    configure_logging("info", {})
    try:
        options = _options(arguments)
        sock = _listen(options)
    except (InventoryError, SettingsError, OSError, KeyError) as error:
        print(f"stream_broker: {error}", file=sys.stderr)
        return 2
    settings = options.settings
    make_room(settings.viewers_per_broker + settings.jobs_per_broker + _OTHER_FILES)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options, sock))
    except LogRefused as error:
        print(f"stream_broker: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(options: Options, sock: socket.socket) -> None:
    level = options.settings.log_level
    configure_logging(level, {"node": options.node, "worker": options.worker})
    broker = Broker(options)
    await broker.check()
    set_collector()
    server = _Server(
        uvicorn.Config(
            BoundRequests(broker.app),
            http=StreamConnection,
            ws=SocketConnection,
            ws_max_size=options.settings.body_max,
            ws_per_message_deflate=False,
            # Answers to pings are not asked for: a slow reader's would come too late, and
            # who is gone is known by what its kernel does not acknowledge.
            ws_ping_interval=15.0,
            ws_ping_timeout=None,
            access_log=False,
            log_config=None,
            server_header=False,
            # HAProxy is asked what it says of its client where that matters (routes/site.py).
            proxy_headers=False,
            date_header=True,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            backlog=_BACKLOG,
        )
    )
    loop = asyncio.get_running_loop()
    told, stop = asyncio.Event(), asyncio.Event()

    def on_terminate() -> None:
        (stop if told.is_set() else told).set()

    obey_signals(loop, level)
    loop.add_signal_handler(signal.SIGTERM, on_terminate)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    serving = loop.create_task(server.serve(sockets=[sock]))
    draining = loop.create_task(_drain_when(told, broker))
    stopping = loop.create_task(stop.wait())
    failing = loop.create_task(broker.faulty.wait())
    ends = {serving, draining, stopping, failing}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in ends - {serving}:
        task.cancel()
    server.should_exit = True
    await serving


async def _drain_when(told: asyncio.Event, broker: Broker) -> None:
    await told.wait()
    await broker.drain()


def _options(arguments: argparse.Namespace) -> Options:
    cluster = load_cluster(arguments.inventory)
    node = cluster.node(arguments.node)
    if arguments.worker >= node.workers:
        raise InventoryError([f"{node.name} has {node.workers} workers, no {arguments.worker}"])
    arguments.state.mkdir(parents=True, exist_ok=True)
    files = tls_files(arguments.credentials)
    return Options(
        cluster=cluster,
        node=node.name,
        worker=arguments.worker,
        process=os.urandom(6).hex(),
        state=arguments.state,
        service_key=(arguments.credentials / "service_key").read_text().strip(),
        settings=load_settings(arguments.set, os.environ, arguments.settings),
        redis_password=_secret(arguments.credentials / "redis_password"),
        cache_password=_secret(arguments.credentials / "cache_password"),
        control_tls=ClientTls(files) if files else None,
    )


def _secret(file: Path) -> str:
    """What a file of the credentials holds; nothing where there is no such file."""
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def _listen(options: Options) -> socket.socket:
    node = options.cluster.node(options.node)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = node.port + options.worker
    try:
        sock.bind((node.address, port))
    except OSError as error:
        raise OSError(f"cannot listen on {node.address}:{port}: {error.strerror}") from error
    return sock


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stream_broker", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True, help="Ansible inventory file")
    parser.add_argument("--node", required=True, help="name of the node in the inventory")
    parser.add_argument("--worker", type=int, default=0, help="index of this worker")
    parser.add_argument("--state", type=Path, required=True, help="directory for spools")
    parser.add_argument(
        "--credentials",
        type=Path,
        default=os.environ.get("CREDENTIALS_DIRECTORY"),
        help="directory with service_key, and tls_cert, tls_key, tls_ca for a control plane "
        "behind mutual TLS (default: $CREDENTIALS_DIRECTORY)",
    )
    parser.add_argument("--settings", type=Path, help="settings file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
