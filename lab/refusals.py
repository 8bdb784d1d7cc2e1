"""What site.yml has to stop at, done to the lab's hosts, and what it has to say then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from lab import network
from lab.lab import Lab
from lab.plays import Played, Report, played
from lab.shell import LabError, run

_SCRATCH = "/run/lab-fault"
_INTRUDER = "lab-intruder.service"
# Nobody of the cluster's.
_STRANGER = "192.168.86.250"
_TAKEN_BACK_S = 40.0

Breaking = Callable[[Lab, str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Of one host: `broken` while it lasts, and then all of `told` is said of it."""

    host: str
    broken: Breaking
    told: Sequence[str]


def _by(breaks: str, mends: str) -> Breaking:
    """By commands of root there."""

    @contextmanager
    def broken(lab: Lab, name: str) -> Iterator[None]:
        run(*lab.ssh(name, f"sudo sh -c '{breaks}'"))
        try:
            yield
        finally:
            run(*lab.ssh(name, f"sudo sh -c '{mends}'"))

    return broken


@contextmanager
def _cut(lab: Lab, name: str) -> Iterator[None]:
    network.cut(lab.host(name))
    try:
        yield
    finally:
        network.mend(lab.host(name))


@contextmanager
def _without_sudo(lab: Lab, name: str) -> Iterator[None]:
    # From outside: nobody could mend it by ssh.
    rule = lab.machines.root(lab.host(name)) / "etc/sudoers.d/okome"
    kept = rule.rename(rule.with_name("okome.off"))
    try:
        yield
    finally:
        kept.rename(rule)


FAULTS = (
    Fault(
        "node-03",
        _by(
            rf'printf "ID=debian\nVERSION_ID=11\nPRETTY_NAME=\"Debian GNU/Linux 11\"\n" >{_SCRATCH}'
            f" && mount --bind {_SCRATCH} /usr/lib/os-release",
            "umount /usr/lib/os-release",
        ),
        ("it runs Debian GNU/Linux 11; install Debian 12 or Ubuntu 24.04",),
    ),
    Fault(
        "node-04",
        _by(
            f'sed "s/^MemTotal:.*/MemTotal: 524288 kB/" /proc/meminfo >{_SCRATCH}'
            f" && mount --bind {_SCRATCH} /proc/meminfo",
            "umount /proc/meminfo",
        ),
        ("it has 512 MB of memory; 1900 MB are needed for its role",),
    ),
    Fault(
        "node-05",
        _by("mount -t tmpfs -o size=64m lab-fault /opt", "umount /opt"),
        ("/opt has 64 MB left; make room for 1500 MB",),
    ),
    Fault(
        "node-06",
        _without_sudo,
        ("okome-node-06: it cannot be looked at as root", "`sudo` there without a password"),
    ),
    Fault(
        "node-07",
        _cut,
        ("okome-node-07: cannot be reached at 192.168.86.47", "from here with a key"),
    ),
    Fault(
        "node-08",
        _by(
            "systemctl stop okome-node-exporter 2>/dev/null;"
            f" systemd-run --quiet --unit={_INTRUDER} python3 -m http.server 9100 && sleep 1",
            f"systemctl stop {_INTRUDER}; systemctl start okome-node-exporter 2>/dev/null || true",
        ),
        (f"port 9100 is taken by {_INTRUDER}; stop it (systemctl disable --now {_INTRUDER})",),
    ),
    Fault(
        "node-09",
        _by("ip address add 192.168.86.18/32 dev eth0", "ip address del 192.168.86.18/32 dev eth0"),
        [f"okome-node-{n:02}: its VIP 192.168.86.18 is in use at " for n in (1, 2)],
    ),
    Fault(
        "cache",
        _by(
            "mkdir -p /etc/ufw && echo ENABLED=yes >/etc/ufw/ufw.conf && touch /usr/sbin/ufw",
            "rm /etc/ufw/ufw.conf /usr/sbin/ufw",
        ),
        ("okome-cache: its own firewall (ufw) is on",),
    ),
)
# No host of the lab has a clock of its own: so there the play takes a good one for a bad one.
_CLOCK = "preflight_clock_s={{ -60 if inventory_hostname == 'okome-node-10' else 5 }}"
_CLOCK_TOLD = ("its clock differs from this machine by more than -60 s; set up chrony on both",)


def unfit_hosts(lab: Lab, report: Report) -> None:
    """preflight names what is wrong with every host and how to mend it, and changes nothing"""
    with ExitStack() as stack:
        for fault in FAULTS:
            stack.enter_context(fault.broken(lab, fault.host))
        if not lab.secrets.exists():
            # The first run makes them, on this machine, which counts as a host's change.
            played(lab, "site", report, "-e", _CLOCK)
        seen = played(lab, "site", report, "-e", _CLOCK)
    _refused(seen, [word for fault in FAULTS for word in fault.told] + list(_CLOCK_TOLD))
    if seen.changed:
        raise LabError(f"a site.yml that met unfit hosts changed {', '.join(seen.changed)}")


def locked_out(lab: Lab, report: Report) -> None:
    """rules of the firewall that lock the operator out are taken back"""
    names = [node.name for node in lab.cluster.nodes]
    before = {name: _rules(lab, name) for name in names}
    words = ["-e", f'{{"okome_ssh_from": ["{_STRANGER}"], "okome_operators": ["{_STRANGER}"]}}']
    _refused(
        played(lab, "site", report, *words),
        [f"{name}: with its new firewall it could not be reached by ssh" for name in names],
    )
    deadline = time.monotonic() + _TAKEN_BACK_S
    while other := {name for name in names if _rules(lab, name) != before[name]}:
        if time.monotonic() > deadline:
            raise LabError(f"another firewall than before is on {', '.join(sorted(other))}")


def _refused(seen: Played, words: Sequence[str]) -> None:
    if seen.status == 0:
        raise LabError("site.yml did not stop")
    missing = [word for word in words if word not in seen.said]
    if missing:
        raise LabError(f"site.yml stopped, and did not say: {'; '.join(missing)}")


def _rules(lab: Lab, name: str) -> str:
    """Of our table, without what it has counted."""
    said = run(*lab.ssh(name, "sudo nft --stateless list table inet okome"))
    return " ".join(said.split())
