"""A cluster with an engine, for as long as it is tortured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from inventory.load import LOCAL
from tests.support.cluster import Cluster
from tests.support.nets import own_octet
from tests.support.synthetic_engine import MODEL, SyntheticEngine

PREFIX = "okome-torture-"
# Every client is the same user; logs are looked at when all is over.
SETTINGS = ("streams_per_user=10000", "log_ttl=7200", "heartbeat=2")


@contextmanager
def stage(
    rate: float | None = None,
    *,
    engine: SyntheticEngine | None = None,
    replicated: bool = False,
    settings: Mapping[str, object] | None = None,
    directory: Path | None = None,
) -> Iterator[tuple[Cluster, Any]]:
    """A running cluster, and what kills its engine and starts it again.

    `rate`: tokens a second of a synthetic engine; without it `engine`, which is the caller's
    to end, and without both the embedded one, which the supervisor itself starts again.
    `replicated`: its log is a Redis Cluster. `settings`: more of them. `directory`: where its
    files are left, the logs among them; else they go with it.
    """
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
        source = LOCAL.with_name("local-replicated.yml") if replicated else LOCAL
        net = f"127.92.{own_octet()}."
        cluster = Cluster(directory, net, source=source)
        wanted = [*SETTINGS, *(f"{name}={value}" for name, value in (settings or {}).items())]
        arguments = [part for setting in wanted for part in ("--set", setting)]
        kill = None
        if rate is not None:
            engine = stack.enter_context(SyntheticEngine(rate))
        if engine is not None:
            arguments += ["--engine", engine.url, "--kind", "vllm", "--model", MODEL]
            kill = _killer(engine)
        stack.callback(cluster.down)
        cluster.up(*arguments)
        yield cluster, kill


def _killer(engine: SyntheticEngine) -> Callable[[], None]:
    def kill() -> None:
        engine.kill()
        engine.__enter__()

    return kill
