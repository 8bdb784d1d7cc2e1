"""`okome up`: from what was asked for to a running cluster and back to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inventory.load import load_cluster
from okome.banner import banner
from okome.detach import tell_ready
from okome.errors import OkomeError
from okome.lock import holder, try_lock
from okome.paths import Paths, locate, make_private
from okome.prepare import Launch, Options, prepare
from okome.report import Reporter
from okome.run import Session


def up(options: Options, environment: Mapping[str, str], ready_fd: int | None) -> None:
    """Runs the cluster until it is asked to end. `ready_fd` is set when it is detached.

    Raises OkomeError, InventoryError or SettingsError when it cannot be started.
    """
    paths = locate(load_cluster(options.inventory).name, environment)
    make_private(paths.state)
    # Never given back: the kernel does it when this process has gone, and `okome down` waits
    # for just that.
    if try_lock(paths.lock) is None:
        raise OkomeError(
            f"OKOME runs already (pid {holder(paths.lock)}): `okome status` shows it, `okome url` "
            "makes a chat link, `okome down` ends it"
        )
    _run(options, paths, environment, ready_fd)


def _run(
    options: Options, paths: Paths, environment: Mapping[str, str], ready_fd: int | None
) -> None:
    make_private(paths.logs)
    report = Reporter(paths.log("supervisor"))
    launch = prepare(options, paths, environment, report)
    report(f"starting {len(launch.plan)} processes; files are in {paths.state}")
    for line in launch.lacking:
        report(line)

    def announce(chat_url: str, api_key: str) -> None:
        print(_banner(launch, chat_url, api_key, ready_fd is not None), flush=True)
        if ready_fd is not None:
            report.echo = False
            tell_ready(ready_fd, paths.logs / "supervisor.stderr")

    asyncio.run(Session(launch, environment, report).run(announce))


def _banner(launch: Launch, chat_url: str, api_key: str, detached: bool) -> str:
    (engine, *_) = launch.cluster.role("core_gpu")[0].engines
    return banner(chat_url, launch.browser_url, api_key, engine.model, launch.lacking, detached)
