"""What is broken, how it is mended, and what may come of it at most."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from lab import network
from lab.lab import Lab
from lab.plays import upgrade
from lab.shell import LabError, run
from lab.topology import CLIENT

# How long a cable is out where that is not the point.
_CUT_S = 8.0
_CONTROL_CUT_S = 15.0
_LONG_CUT_S = 600.0
_ENGINE_CUT_S = 4.0
_BAD_S = 12.0
_TABLE = "okome_lab_drill"
_REDIS = "{6379-6381, 16379-16381}"
_BUS = "{16379-16381}"


@dataclass(frozen=True, slots=True)
class Drill:
    """`strike` breaks something, `mend` makes it whole again after the streams have ended.

    `home`: of the jobs that are hit, None where it is all. Bounds in seconds: the longest gap
    of those (`hit`), of the others beyond what engine and machine made themselves (`others`),
    and of the VIP for new connections (`vip`). `end`: how every answer ends. `seconds`, `rate`: of
    the answers that are read, whose tokens are limited; `lasting`: for how long one is followed by
    the next; `long`: only where it is asked for.
    """

    key: str
    name: str
    strike: Callable[[Lab], None]
    hit: float
    mend: Callable[[Lab], None] | None = None
    home: str | None = None
    others: float | None = None
    vip: float = 2.0
    seconds: float = 15.0
    rate: float = 40.0
    lasting: float = 0.0
    end: str = "job_complete"
    long: bool = False


def holder(lab: Lab) -> str:
    """The ingress that has the VIP. Raises LabError when none has it."""
    for node in lab.cluster.role("ingress"):
        if lab.cluster.vip in run(*lab.ssh(node.name, f"ip -o addr show to {lab.cluster.vip}")):
            return node.name
    raise LabError("no ingress has the VIP")


def settle(lab: Lab) -> None:
    """Returns once the cluster is whole again: the next drill is a first fault, not a second."""
    off = [host for host in lab.hosts if not lab.machines.runs(host)]
    for host in off:
        lab.machines.power_on(host)
    if off:
        lab.wait_up(off)
    form = (
        "sudo okome redis form --timeout 90 --inventory /etc/okome/inventory.yml "
        "--password /etc/okome/credentials/redis/redis_password"
    )
    run(*lab.ssh("node-03", form), timeout=120)
    _await_ready(lab)


def _await_ready(lab: Lab) -> None:
    """Every broker takes jobs, and every ingress serves."""
    nodes = [*lab.cluster.role("stream"), *lab.cluster.role("ingress")]
    urls = [
        f"http://{node.address}:{node.port}/readyz"
        if node.role == "stream"
        else f"http://{node.address}:{lab.cluster.stats_port}/serving"
        for node in nodes
    ]
    ask = (
        "import sys, time, urllib.request\n"
        "end = time.monotonic() + 60\n"
        "for url in sys.argv[1:]:\n"
        "    while True:\n"
        "        try:\n"
        "            urllib.request.urlopen(url, timeout=2)\n"
        "            break\n"
        "        except OSError as error:\n"
        "            if time.monotonic() > end:\n"
        "                sys.exit(f'{url}: {error}')\n"
        "            time.sleep(0.2)\n"
    )
    run(*lab.outside(sys.executable, "-c", ask, *urls), timeout=120)


def _kill(node: str, unit: str) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        run(*lab.ssh(node, f"sudo systemctl kill --signal KILL {unit}"))

    return strike


def _power(node: str) -> Callable[[Lab], None]:
    return lambda lab: lab.machines.power_off(lab.host(node))


def _cable(node: str, seconds: float) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        network.cut(lab.host(node))
        time.sleep(seconds)
        network.mend(lab.host(node))

    return strike


def _holder_cable(lab: Lab) -> None:
    _cable(holder(lab), _CUT_S)(lab)


def _bad_cable(lab: Lab) -> None:
    with network.impaired(lab.host(CLIENT), delay=0.02, jitter=0.01, loss=0.01):
        time.sleep(_BAD_S)


def _redis_down(lab: Lab) -> None:
    unit = "okome-redis-6379.service"
    run(
        *lab.ssh("node-04", f"sudo systemctl kill --signal KILL {unit}; sudo systemctl stop {unit}")
    )


def _redis_up(lab: Lab) -> None:
    run(*lab.ssh("node-04", "sudo systemctl start --no-block okome-redis-6379.service"))


def _redis_partition(lab: Lab) -> None:
    """The node's own processes of the log reach nobody, and only the node reaches them; its
    broker reaches those of the others."""
    hooks = [
        f"chain {hook} {{ type filter hook {hook} priority -300; "
        f'{side} "lo" accept; tcp {own} {_REDIS} drop; tcp {other} {_BUS} drop; }}'
        for hook, side, own, other in (
            ("input", "iifname", "dport", "sport"),
            ("output", "oifname", "sport", "dport"),
        )
    ]
    _nft(lab, "\n".join((f"table inet {_TABLE} {{", *hooks, "}")))


def _redis_joined(lab: Lab) -> None:
    _nft(lab, f"delete table inet {_TABLE}")


def _nft(lab: Lab, rules: str) -> None:
    netns = lab.host("node-04").netns
    done = subprocess.run(
        ["ip", "netns", "exec", netns, "nft", "-f", "-"],
        input=rules, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"nft: {done.stderr.strip()}")


def _upgrade(lab: Lab) -> None:
    said: list[str] = []
    if upgrade(lab, said.append, None) != 0:
        raise LabError("the upgrade failed")


_OTHERS_S = 0.1
DRILLS = (
    Drill("broker-kill", "a broker's process is killed",
          _kill("node-04", "okome-broker-0.service"), 3.0, home="n04w0", others=_OTHERS_S),
    Drill("broker-power", "a broker's node loses its power",
          _power("node-05"), 5.0, home="n05w0", others=_OTHERS_S),
    Drill("ingress-power", "the ingress that has the VIP loses its power",
          lambda lab: lab.machines.power_off(lab.host(holder(lab))), 8.0),
    Drill("ingress-haproxy", "its HAProxy is killed",
          lambda lab: _kill(holder(lab), "haproxy.service")(lab), 8.0),
    Drill("ingress-cable", f"its cable is out for {_CUT_S:g} s", _holder_cable, 8.0, seconds=25.0),
    *(
        Drill(f"redis-restart-{n:02}", f"the log's primary of {n:02} is killed, and restarted",
              _kill(f"node-{n:02}", "okome-redis-6379.service"), 3.0, home=f"n{n:02}w0",
              others=_OTHERS_S)
        for n in (3, 4, 5, 6)
    ),
    Drill("redis-down", "the log's primary of 04 is killed, and stays down",
          _redis_down, 3.0, mend=_redis_up, home="n04w0", others=_OTHERS_S),
    Drill("redis-partition", "the log's processes of 04 are cut off from all others",
          _redis_partition, 3.0, mend=_redis_joined, home="n04w0", others=_OTHERS_S),
    Drill("control-cable", f"the control plane is cut off for {_CONTROL_CUT_S:g} s",
          _cable("control", _CONTROL_CUT_S), _OTHERS_S, seconds=20.0),
    Drill("control-cable-long", f"the control plane is cut off for {_LONG_CUT_S / 60:g} min",
          _cable("control", _LONG_CUT_S), 0.3, seconds=595.0, rate=6.0, long=True),
    Drill("upgrade", "every node is brought to another release, one at a time",
          _upgrade, 1.0, seconds=20.0, rate=15.0, lasting=400.0, long=True),
    Drill("client-cable", "the client's cable: 20 ms more or less 10, and 1 % lost, each way",
          _bad_cable, 2.0, seconds=20.0),
    Drill("engine-cable", f"the core GPU host is cut off for {_ENGINE_CUT_S:g} s",
          _cable("core-gpu", _ENGINE_CUT_S), 3 * _ENGINE_CUT_S, seconds=20.0),
    Drill("engine-kill", "the engine is killed, and no other has the model",
          _kill("core-gpu", "okome-drill-engine.service"), 2.0, end="job_error"),
)  # fmt: skip
# Of every kind one, for each change.
QUICK = ("broker-kill", "broker-power", "ingress-power", "redis-restart-06")
