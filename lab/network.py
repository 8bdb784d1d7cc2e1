"""The lab's network: a switch in a namespace of its own, and a cable to each host.

Nothing of it is in the machine's own network, and no host has a way out.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.shell import LabError, run, succeeds
from lab.topology import PREFIX, Host

SWITCH = f"{PREFIX}-switch"
_NETNS = Path("/run/netns")
_PREFIX_LENGTH = 24


def make_switch() -> None:
    """An empty switch."""
    run("ip", "netns", "add", SWITCH)
    at = ("ip", "-n", SWITCH, "link")
    run(*at, "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    run(*at, "set", "br0", "up")


def connect(host: Host) -> None:
    """A namespace with the host's address, and a cable from it to the switch."""
    run("ip", "netns", "add", host.netns)
    run(
        *("ip", "-n", SWITCH, "link", "add", host.port),
        *("type", "veth", "peer", "name", "eth0", "netns", host.netns),
    )
    run("ip", "-n", SWITCH, "link", "set", host.port, "master", "br0", "up")
    run("ip", "-n", host.netns, "link", "set", "lo", "up")
    address(host)


def address(host: Host) -> None:
    """The host's own address and no other: what ran there before may have added some."""
    run("ip", "-n", host.netns, "addr", "flush", "dev", "eth0")
    network = f"{host.address}/{_PREFIX_LENGTH}"
    run("ip", "-n", host.netns, "addr", "add", network, "dev", "eth0")
    run("ip", "-n", host.netns, "link", "set", "eth0", "up")


def cut(host: Host) -> None:
    """Pulls the cable."""
    run("ip", "-n", SWITCH, "link", "set", host.port, "down")


def mend(host: Host) -> None:
    """Puts the cable back."""
    run("ip", "-n", SWITCH, "link", "set", host.port, "up")


@contextmanager
def impaired(host: Host, *, delay: float, jitter: float, loss: float) -> Iterator[None]:
    """While it lasts the host's cable is a bad one, each way; see lab/wire.py."""
    whole = "import sys; from lab.wire import whole_frames; whole_frames('eth0')"
    run("ip", "netns", "exec", host.netns, sys.executable, "-c", whole)
    command = [sys.executable, "-P", "-m", "lab.wire", host.port]
    command += [f"--delay={delay}", f"--jitter={jitter}", f"--loss={loss}"]
    with subprocess.Popen(
        ["ip", "netns", "exec", SWITCH, *command], stdout=subprocess.PIPE, text=True
    ) as wire:
        assert wire.stdout is not None  # noqa: S101 - it was asked for above
        try:
            if wire.stdout.readline().strip() != "ready":
                raise LabError(f"the cable of {host.name} cannot be made a bad one")
            yield
        finally:
            wire.terminate()


def namespaces() -> list[str]:
    """Those of the lab that there are."""
    return sorted(path.name for path in _NETNS.glob(f"{PREFIX}-*"))


def remove_all() -> None:
    """Every namespace of the lab, and the processes in them. Raises LabError for one that
    stays: it would keep its addresses for the next lab."""
    for name in namespaces():
        _kill_in(name)
        run("ip", "netns", "del", name)


def _kill_in(name: str) -> None:
    # One that was cut off while it was made has a file and no namespace behind it.
    if not succeeds("ip", "netns", "pids", name):
        return
    for _ in range(100):
        pids = run("ip", "netns", "pids", name).split()
        if not pids:
            return
        for pid in pids:
            _kill(int(pid))
        time.sleep(0.05)
    raise LabError(f"processes stay in the network namespace {name}: {' '.join(pids)}")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
