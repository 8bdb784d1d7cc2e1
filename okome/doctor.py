"""`okome doctor`: what this machine has and lacks for running the cluster."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from inventory.load import LOCAL, InventoryError, load_cluster
from inventory.model import Cluster
from inventory.settings import SettingsError, load_settings
from okome.control import NotRunningError, ask
from okome.engine_check import engine_fault
from okome.errors import OkomeError
from okome.model import REQUIREMENT, SHA256, find_model, verify
from okome.native_check import native_state
from okome.observing import spared
from okome.paths import Paths, cache_dir, locate, make_private
from okome.plan import Arguments, Programs, make_plan
from okome.ports import taken
from okome.programs import DISTRIBUTION, find_program

# The embedded engine was measured at 530 MB; brokers and planes take about as much again.
MEMORY_WANTED = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """`bad` keeps the cluster from starting; `lacking` only takes something away."""

    check: str
    level: Literal["ok", "lacking", "bad"]
    message: str


def examine(
    inventory: Path | None, environment: Mapping[str, str], now: datetime.datetime
) -> list[Finding]:
    """All findings, in the order in which one would mend them. Of a cluster of other machines:
    what it takes to deploy it from here; its secrets are looked for beside the inventory."""
    findings = [_platform(), _python(), *_programs(environment), _engine()]
    findings.append(_native(environment))
    findings.append(_try("model", lambda: _model(environment)))
    findings.append(_try("settings", lambda: _settings(environment)))
    findings.append(_memory(Path("/proc/meminfo")))
    try:
        cluster = load_cluster(inventory or LOCAL)
        paths = locate(cluster.name, environment)
    except (InventoryError, OkomeError) as error:
        return [*findings, Finding("inventory", "bad", str(error))]
    if not any(ip_address(node.address).is_loopback for node in cluster.nodes):
        return [*findings, *_elsewhere(cluster, (inventory or LOCAL).parent, now)]
    findings.append(_try("state", lambda: _state(paths)))
    findings.append(_ports(cluster, paths))
    return findings


def findings_text(findings: list[Finding]) -> str:
    """One line per finding."""
    return "\n".join(f"{f.level:<8} {f.check:<13} {f.message}" for f in findings)


def findings_json(findings: list[Finding]) -> dict[str, Any]:
    """For scripts: `ok` is true when nothing keeps the cluster from starting."""
    return {
        "ok": all(finding.level != "bad" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _try(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, "ok", look())
    except (OkomeError, SettingsError) as error:
        return Finding(check, "bad", str(error))


def _platform() -> Finding:
    system = platform.system()
    if system == "Linux":
        return Finding("system", "ok", f"Linux {platform.release()}")
    return Finding(
        "system", "bad", f"{system} is not supported; use Linux (on Windows: WSL2) or a container"
    )


def _python() -> Finding:
    # An older one cannot even import this package, and scripts/install says so by itself.
    return Finding("python", "ok", platform.python_version())


def _programs(environment: Mapping[str, str]) -> Iterator[Finding]:
    for program, (package, loss) in DISTRIBUTION.items():
        path = find_program(program, environment)
        if path is not None:
            yield Finding(program, "ok", path)
        else:
            yield Finding(program, "lacking", f"without {loss} (apt-get install {package})")


def _engine() -> Finding:
    fault = engine_fault()
    return Finding("engine", "bad", fault) if fault else Finding("engine", "ok", "xllamacpp")


def _native(environment: Mapping[str, str]) -> Finding:
    if environment.get("OKOME_NATIVE") == "off":
        return Finding("native", "ok", "off, as OKOME_NATIVE says")
    return Finding("native", *native_state())


def _model(environment: Mapping[str, str]) -> str:
    cache = cache_dir(environment)
    path = find_model(cache)
    if path is None:
        return f"not here yet; `okome up` fetches it ({REQUIREMENT}, about 90 MB)"
    verify(path, SHA256, cache)
    return f"{path}, checksum right"


def _settings(environment: Mapping[str, str]) -> str:
    load_settings((), environment, None)
    return "variables are right"


def _memory(table: Path) -> Finding:
    try:
        rows = dict(line.split(":", 1) for line in table.read_text(encoding="ascii").splitlines())
        available = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return Finding("memory", "ok", "unknown")
    amount = f"{available / (1 << 30):.1f} GiB available"
    if available < MEMORY_WANTED:
        return Finding("memory", "lacking", f"{amount}, 2 GiB wanted: the engine may be killed")
    return Finding("memory", "ok", amount)


def _state(paths: Paths) -> str:
    make_private(paths.state)
    return str(paths.state)


def _elsewhere(cluster: Cluster, place: Path, now: datetime.datetime) -> list[Finding]:
    # It brings cryptography along, which takes a moment.
    from okome.deploy import readiness

    return [Finding(*found) for found in readiness.look(cluster, place / "secrets", now)]


def _ports(cluster: Cluster, paths: Paths) -> Finding:
    try:
        ask(paths, {"op": "status"})
        return Finding("ports", "ok", "the cluster runs and has them")
    except NotRunningError:
        pass
    except OkomeError as error:
        return Finding("ports", "bad", str(error))
    every = Programs("haproxy", "redis-server", Path("model"), "prometheus")
    programs, notes = spared(cluster, every)
    plan = make_plan(cluster, paths, programs, Arguments())
    busy = taken(listen for spec in plan for listen in spec.listens)
    if busy:
        return Finding("ports", "bad", busy[0])
    if notes:
        return Finding("ports", "lacking", notes[0])
    return Finding("ports", "ok", f"{cluster.url} and all others are free")
