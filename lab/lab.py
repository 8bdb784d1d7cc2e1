"""The lab as a whole: up, down, and a way into its hosts."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml

from inventory.load import load_cluster
from lab import machine, network, topology
from lab.machine import Machines
from lab.shell import LabError, run
from lab.topology import CLIENT, Host
from lab.tree import ensure_tree

ROOT = Path(__file__).parent.parent
# On a disk that is there on every machine, and not in the cache: `down` removes it.
STATE = Path("/var/tmp/okome-lab")  # noqa: S108 - root's, and made with mode 0700
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "dpkg-scanpackages": "dpkg-dev",
    "ip": "iproute2",
    "ssh": "openssh-client",
}
_BOOT_S = 60.0
_ALERTS_PORT = 9095
# Bytes: with that much memory free, all hosts' disks are in it, up to so much.
_ROOMY = 12 << 30
_DISKS = 11 << 30


class Lab:
    """One lab on a machine. `cache` is kept between labs."""

    def __init__(self, cache: Path, report: Callable[[str], None]) -> None:
        self.cache = cache
        self._report = report
        raw = yaml.safe_load((ROOT / "inventory/cluster.yml").read_text(encoding="utf-8"))
        over = yaml.safe_load((ROOT / "lab/overlay.yml").read_text(encoding="utf-8"))
        self._inventory = topology.overlay(raw, over)
        self.cluster = load_cluster(ROOT / "inventory/cluster.yml")
        self.hosts = topology.hosts_of(self.cluster)
        self.machines = Machines(STATE, cache)

    @property
    def inventory(self) -> Path:
        """The lab's own."""
        return STATE / "inventory.yml"

    @property
    def ssh_config(self) -> Path:
        """For ssh's `-F`."""
        return STATE / "ssh_config"

    @property
    def secrets(self) -> Path:
        """Of this lab's cluster."""
        return STATE / "secrets"

    @property
    def state(self) -> Path:
        """Everything of a lab but the cache."""
        return STATE

    @property
    def backups(self) -> Path:
        """Of this lab's cluster."""
        return STATE / "backups"

    @property
    def told_of_alerts(self) -> str:
        """The URL at the client where this lab's Alertmanagers tell of alerts."""
        return f"http://{self.host(CLIENT).address}:{_ALERTS_PORT}/"

    @property
    def ansible_home(self) -> Path:
        """Where Ansible keeps its connections."""
        return STATE / "ansible"

    def host(self, name: str) -> Host:
        """By its name, or by what is left of it without `okome-`. Raises LabError."""
        for host in self.hosts:
            if name in (host.name, host.name.removeprefix("okome-")):
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"{name} is no host of the lab; there are {known}")

    def up(self) -> None:
        """Boots every host; returns when all of them have come up. Raises LabError."""
        with self._alone():
            if STATE.exists():
                raise LabError("a lab is there already; end it with `scripts/lab down`")
            _check_programs()
            ensure_tree(self.cache, self._report)
            began = time.monotonic()
            try:
                self._make()
            except BaseException:
                self._remove()
                raise
            self._report(f"{len(self.hosts)} hosts are up after {time.monotonic() - began:.1f} s")

    def down(self) -> None:
        """Ends the lab, or what is left of one, without a trace. The cache stays."""
        with self._alone():
            self._remove()

    def leftovers(self) -> list[str]:
        """What there is of a lab on this machine, beside the cache."""
        namespaces = [f"network namespace {name}" for name in network.namespaces()]
        return namespaces + machine.leftovers(STATE, [host.name for host in self.hosts])

    def require(self) -> None:
        """Raises LabError when no lab is up."""
        if not self.ssh_config.exists():
            raise LabError("no lab is up; start one with `scripts/lab up`")

    def outside(self, *command: str) -> list[str]:
        """The command line that runs a command in the client's network, with this machine's
        files: for Ansible and ssh."""
        return ["ip", "netns", "exec", self.host(CLIENT).netns, *command]

    def ssh(self, name: str, *command: str) -> list[str]:
        """The command line that runs a command on a host, or opens a shell there."""
        return self.outside("ssh", "-F", str(self.ssh_config), self.host(name).name, *command)

    def wait_up(self, hosts: Sequence[Host]) -> None:
        """Returns when systemd has started everything on the hosts. Raises LabError."""
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(self._wait_up, hosts))

    def replace(self, host: Host) -> None:
        """A new machine in the place of a host, as bare as `up` leaves it. Raises LabError."""
        self.machines.power_off(host)
        self.machines.wipe(host)
        self._install(host)
        self._know_hosts()
        self.machines.power_on(host)
        # The connections that Ansible keeps open lead to the machine of before.
        shutil.rmtree(self.ansible_home, ignore_errors=True)
        self.wait_up([host])

    def _install(self, host: Host) -> None:
        names = topology.hosts_file(self.hosts)
        self.machines.install(host, names, (STATE / "key").with_suffix(".pub"))
        if host.name == self.cluster.role("core_gpu")[0].name:
            self.machines.install_engine(host)

    def _know_hosts(self) -> None:
        keys = "".join(map(self.machines.host_key, self.hosts))
        (STATE / "known_hosts").write_text(keys, encoding="ascii")

    def _make(self) -> None:
        STATE.mkdir(mode=0o700)
        if machine.memory_available() > _ROOMY:
            # Hosts write some gigabytes, and to take those off a disk can take minutes.
            options = f"mode=0700,size={_DISKS}"
            run("mount", "-t", "tmpfs", topology.PREFIX, "-o", options, str(STATE))
        key, known = STATE / "key", STATE / "known_hosts"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key))
        network.make_switch()
        for host in self.hosts:
            network.connect(host)
            self._install(host)
            self.machines.boot(host)
        self._know_hosts()
        self.inventory.write_text(yaml.safe_dump(self._inventory, sort_keys=False), "utf-8")
        config = topology.ssh_config(self.hosts, str(key), str(known))
        self.ssh_config.write_text(config, encoding="utf-8")
        self.wait_up(self.hosts)

    def _wait_up(self, host: Host) -> None:
        command = self.ssh(host.name, "systemctl is-system-running --wait")
        deadline = time.monotonic() + _BOOT_S
        state = ""
        while time.monotonic() < deadline:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            state = done.stdout.strip() or done.stderr.strip()
            if state == "running":
                return
            if state == "degraded":
                break
            time.sleep(0.2)
        log = STATE / host.name / "console.log"
        raise LabError(f"{host.name} does not come up ({state or 'no answer'}); see {log}")

    def _remove(self) -> None:
        with _uninterrupted():
            machine.kill_group()
            network.remove_all()
            machine.remove_all(STATE, [host.name for host in self.hosts])
            if left := self.leftovers():
                raise LabError(f"something of the lab stays: {', '.join(left)}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One lab has these addresses on a machine, so one at a time is made or ended."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another `scripts/lab up` or `down` is under way") from None
            yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Who is impatient waits for the end of this."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _check_programs() -> None:
    lacking = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if lacking:
        raise LabError(f"programs are missing; apt-get install {' '.join(lacking)}")


def require_root() -> None:
    """Raises LabError for anybody else: namespaces, mounts and containers need it."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces, mounts and containers")
