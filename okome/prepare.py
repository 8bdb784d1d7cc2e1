"""Everything that `okome up` does before it starts the first process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ingress.backends import ControlTls
from ingress.haproxy import Limits
from ingress.haproxy import render as render_haproxy
from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from inventory.settings import Settings, load_settings
from inventory.tls import TlsFiles, client_context, tls_files
from okome.credentials import ensure_credentials, write_secret
from okome.derive import OwnEngine, derive, write_inventory
from okome.engine_check import engine_fault
from okome.errors import OkomeError
from okome.model import ensure_model
from okome.observing import spared, write_prometheus
from okome.paths import Paths, cache_dir, make_private, own_policy
from okome.plan import (
    Arguments,
    ProcessSpec,
    Programs,
    base_url,
    browser_url,
    make_plan,
    redis_name,
)
from okome.policy_check import check_policy, fault_lines
from okome.ports import taken
from okome.programs import find_program, lacking
from okome.redis_config import render as render_redis
from okome.redis_config import render_cache


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for with `okome up`."""

    inventory: Path = LOCAL
    settings: Path | None = None
    policy: Path | None = None
    assignments: tuple[str, ...] = ()
    engine: OwnEngine | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A cluster that is ready to be started."""

    cluster: Cluster
    paths: Paths
    plan: list[ProcessSpec]
    url: str
    browser_url: str
    lacking: list[str] = field(default_factory=list)


def prepare(
    options: Options,
    paths: Paths,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> Launch:
    """Checks all that can be known beforehand and writes every file a process needs.

    Raises OkomeError, InventoryError or SettingsError with one line for a person.
    """
    settings = load_settings(options.assignments, environment, options.settings)
    for directory in (paths.state, paths.logs):
        make_private(directory)
    # Loaded as it is, so that a fault is told with the name of the user's own file.
    programs, notes = spared(
        load_cluster(options.inventory), _programs(options, environment, report)
    )
    cluster = _write_inventory(options, paths, programs)
    policy = checked_policy(options, paths.inventory, environment)
    arguments = Arguments(options.settings, options.assignments, policy)
    tls = tls_files(paths.credentials)
    plan = make_plan(cluster, paths, programs, arguments, tls=tls is not None)
    if busy := taken(listen for spec in plan for listen in spec.listens):
        raise OkomeError(busy[0])
    ensure_credentials(paths.credentials)
    for spec in plan:
        make_private(paths.of_process(spec.name))
    _write_redis(cluster, paths)
    if programs.haproxy:
        _write_haproxy(cluster, paths, settings, programs.haproxy, tls)
    write_prometheus(cluster, paths, programs, tls)
    return Launch(
        cluster=cluster,
        paths=paths,
        plan=plan,
        url=base_url(cluster, programs),
        browser_url=browser_url(cluster, programs),
        lacking=[*lacking(environment), *notes],
    )


def _programs(
    options: Options, environment: Mapping[str, str], report: Callable[[str], None]
) -> Programs:
    model = None
    if options.engine is None:
        if fault := engine_fault():
            raise OkomeError(fault)
        model = ensure_model(cache_dir(environment), report)
    return Programs(
        haproxy=find_program("haproxy", environment),
        redis=find_program("redis-server", environment),
        model=model,
        prometheus=find_program("prometheus", environment),
    )


def _write_inventory(options: Options, paths: Paths, programs: Programs) -> Cluster:
    raw = yaml.safe_load(options.inventory.read_text(encoding="utf-8"))
    content = derive(
        raw,
        redis=programs.redis is not None,
        engine=options.engine,
        prometheus=programs.prometheus is not None,
    )
    write_inventory(content, options.inventory, paths.inventory)
    return load_cluster(paths.inventory)


def checked_policy(
    options: Options, inventory: Path, environment: Mapping[str, str]
) -> Path | None:
    """The policy file that is meant, if any. Raises OkomeError for one that cannot be used."""
    policy = options.policy or own_policy(environment)
    if policy is None:
        return None
    checked = check_policy(policy, inventory)
    if checked["faults"]:
        first, *more = fault_lines(checked)
        rest = f" (and {len(more)} more; `okome policy check` shows them)" if more else ""
        raise OkomeError(first + rest)
    return policy


def _write_redis(cluster: Cluster, paths: Paths) -> None:
    clustered = cluster.durability == "replicated"
    for store in cluster.log_stores():
        directory = paths.of_process(redis_name(cluster, store))
        config = render_redis(store, directory, clustered=clustered)
        (directory / "redis.conf").write_text(config, encoding="utf-8")
    for node in cluster.role("cache"):
        directory = paths.of_process(node.name)
        config = render_cache(node, directory)
        (directory / "redis.conf").write_text(config, encoding="utf-8")


def _write_haproxy(
    cluster: Cluster, paths: Paths, settings: Settings, program: str, tls: TlsFiles | None
) -> None:
    for node in cluster.role("ingress")[:1]:
        config = paths.of_process(node.name) / "haproxy.cfg"
        limits = Limits(job_deadline=settings.job_deadline)
        channel = _channel(tls, config.with_name("control.pem"))
        config.write_text(render_haproxy(cluster, node, limits, channel), encoding="utf-8")
        checked = subprocess.run(
            [program, "-c", "-q", "-f", str(config)], capture_output=True, text=True, check=False
        )
        if checked.returncode != 0:
            reason = (checked.stderr.strip() or "no reason given").splitlines()[0]
            raise OkomeError(
                f"{program} refuses {config}: {reason}; HAProxy 2.6 or later is needed"
            )


def _channel(tls: TlsFiles | None, pem: Path) -> ControlTls | None:
    """HAProxy takes certificate and key in one file, which is `pem` then."""
    if tls is None:
        return None
    try:
        client_context(tls)
        write_secret(pem, tls.cert.read_bytes().rstrip() + b"\n" + tls.key.read_bytes())
    except OSError as error:
        raise OkomeError(f"{tls.cert} and the others cannot be used: {error}") from error
    return ControlTls(cert=str(pem), ca=str(tls.ca))
