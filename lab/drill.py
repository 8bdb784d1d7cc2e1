"""Something is broken while a client reads: how long did who wait, and was anything lost?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab import network
from lab.lab import ROOT, Lab
from lab.shell import LabError, run

_ISOLATED_S = 15.0
_READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Drill:
    """`strike` breaks something, `mend` makes it whole again after the streams have ended.
    `home`: the home of the jobs that are hit."""

    name: str
    strike: Callable[[Lab], None]
    mend: Callable[[Lab], None] | None = None
    home: str | None = None


def _power_off_holder(lab: Lab) -> None:
    lab.machines.power_off(lab.host(_holder(lab)))


def _holder(lab: Lab) -> str:
    """The ingress that has the VIP."""
    for node in lab.cluster.role("ingress"):
        if lab.cluster.vip in run(*lab.ssh(node.name, f"ip -o addr show to {lab.cluster.vip}")):
            return node.name
    raise LabError("no ingress has the VIP")


def _power_on_all(lab: Lab) -> None:
    """Whatever has no process is booted, and waited for."""
    off = [host for host in lab.hosts if not lab.machines.runs(host)]
    for host in off:
        lab.machines.power_on(host)
    if off:
        lab.wait_up(off)


def _kill_broker(lab: Lab) -> None:
    run(*lab.ssh("node-04", "sudo systemctl kill --signal KILL okome-broker-0.service"))


def _isolate_control(lab: Lab) -> None:
    network.cut(lab.host("control"))
    time.sleep(_ISOLATED_S)
    network.mend(lab.host("control"))


DRILLS = (
    Drill("the ingress that has the VIP loses its power", _power_off_holder, _power_on_all),
    Drill("a broker is killed", _kill_broker, home="n04w0"),
    Drill(
        "a broker's node loses its power",
        lambda lab: lab.machines.power_off(lab.host("node-05")),
        _power_on_all,
        home="n05w0",
    ),
    Drill(f"the control plane is cut off for {_ISOLATED_S:g} s", _isolate_control),
)


def drill(lab: Lab, report: Callable[[str], None], tokens: int) -> list[dict[str, Any]]:
    """Every drill in turn. Raises LabError for one that cannot be carried out."""
    results = []
    for each in DRILLS:
        result = _run(lab, each, tokens)
        results.append({"drill": each.name, **result})
        report(_line(each, result))
        if each.mend is not None:
            each.mend(lab)
            _settle(lab)
    return results


def _run(lab: Lab, each: Drill, tokens: int) -> dict[str, Any]:
    given = ["--inventory", str(lab.inventory), "--secrets", str(lab.secrets)]
    command = [sys.executable, "-P", "-m", "lab.watch", *given, f"--tokens={tokens}"]
    with subprocess.Popen(
        lab.outside(*command), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as watch:
        assert watch.stdout is not None  # noqa: S101 - it was asked for above
        if watch.stdout.readline().strip() != "ready":
            raise LabError(f"{each.name}: the client's streams did not begin")
        each.strike(lab)
        said = watch.stdout.read().strip()
    if not said:
        raise LabError(f"{each.name}: the client ended without a result")
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def _settle(lab: Lab) -> None:
    """Returns once the log is whole again: the next drill is a first fault, not a second."""
    form = (
        "sudo okome redis form --timeout 90 --inventory /etc/okome/inventory.yml "
        "--password /etc/okome/credentials/redis/redis_password"
    )
    run(*lab.ssh("node-03", form), timeout=_READY_S)


def _line(each: Drill, result: dict[str, Any]) -> str:
    hit = [s for s in result["streams"] if each.home in (None, s["home"])]
    others = [s for s in result["streams"] if s not in hit]
    streams = result["streams"]
    parts = [
        f"longest gap {max(s['gap_max_s'] or 0 for s in hit):.2f} s",
        *([f"elsewhere {max(s['gap_max_s'] or 0 for s in others):.2f} s"] if others else []),
        f"VIP away {max(result['vip_away_s'], default=0):.2f} s",
        f"lost {sum(s['lost'] for s in streams)}, repeated {sum(s['repeated'] for s in streams)}",
        f"texts as recorded: {sum(s['same_text'] for s in streams)} of {len(streams)}",
        f"ends: {', '.join(sorted({s['end'] or 'none' for s in streams}))}",
    ]
    return f"{each.name}: {'; '.join(parts)}"
