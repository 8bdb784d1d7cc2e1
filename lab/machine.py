"""One host: a container with systemd as its first process, over the common tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from lab import engine, network
from lab.shell import LabError, run
from lab.topology import PREFIX, Host
from lab.tree import REPOSITORY, USER, repository, tree

_CGROUPS = Path("/sys/fs/cgroup")
_NSPAWN = Path("/run/systemd/nspawn")
# As lab/overlay.yml has it.
ENGINE_PORT = 8001
_ENGINE_NAME = "okome-drill-engine.service"
_ENGINE_UNIT = """\
[Unit]
After=network.target
[Service]
ExecStart=/usr/bin/python3 /srv/lab/engine.py --address {address} --port {port}
Restart=always
RestartSec=3
[Install]
WantedBy=multi-user.target
"""


class Machines:
    """The hosts' files, in `state`, and their processes. `cache` holds the common tree."""

    def __init__(self, state: Path, cache: Path) -> None:
        self._state = state
        self._cache = cache

    def install(self, host: Host, hosts_file: str, public_key: Path) -> None:
        """The host's root: the common tree, and over it what is its own."""
        place = self._state / host.name
        for part in ("upper", "work", "root"):
            (place / part).mkdir(parents=True)
        layers = f"lowerdir={tree(self._cache)},upperdir={place}/upper,workdir={place}/work"
        root = place / "root"
        run("mount", "-t", "overlay", PREFIX, "-o", f"{layers},volatile", str(root))
        etc = root / "etc"
        identity = hashlib.sha256(host.name.encode()).hexdigest()[:32]
        (etc / "machine-id").write_text(f"{identity}\n", encoding="ascii")
        (etc / "hostname").write_text(f"{host.name}\n", encoding="ascii")
        (etc / "hosts").write_text(hosts_file, encoding="utf-8")
        self._let_in(root, public_key)
        key = etc / "ssh/ssh_host_ed25519_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key))

    def _let_in(self, root: Path, public_key: Path) -> None:
        home = root / "home" / USER
        owner = home.stat()
        keys = home / ".ssh/authorized_keys"
        keys.parent.mkdir(mode=0o700)
        shutil.copyfile(public_key, keys)
        for path in (keys.parent, keys):
            os.chown(path, owner.st_uid, owner.st_gid)

    def install_engine(self, host: Host) -> None:
        """The engine of the drills, beside what the playbook puts there. Its unit is called as
        ours are: the port is taken before the playbook looks at the host."""
        root = self._state / host.name / "root"
        shutil.copyfile(engine.__file__, root / "srv/lab/engine.py")
        units = root / "etc/systemd/system"
        text = _ENGINE_UNIT.format(address=host.address, port=ENGINE_PORT)
        (units / _ENGINE_NAME).write_text(text, encoding="utf-8")
        wants = units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / _ENGINE_NAME).symlink_to(f"../{_ENGINE_NAME}")

    def host_key(self, host: Host) -> str:
        """The line of `known_hosts` by which the host is recognised."""
        public = self._state / host.name / "root/etc/ssh/ssh_host_ed25519_key.pub"
        kind, key, *_ = public.read_text(encoding="ascii").split()
        return f"{host.address},{host.name} {kind} {key}\n"

    def boot(self, host: Host) -> None:
        """Starts the host. It is up when it answers."""
        place = self._state / host.name
        groups = [group / PREFIX / host.name for group in _hierarchies()]
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
        # A cgroup each: without one of its own a host would see those of all the others.
        join = 'for group in $LAB_GROUPS; do echo $$ >"$group/cgroup.procs"; done; exec "$@"'
        environment = {
            **os.environ,
            "LAB_GROUPS": " ".join(map(str, groups)),
            # With a namespace made before, /proc/sys/net is read-only otherwise.
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        }
        with (place / "console.log").open("ab") as console:
            process = subprocess.Popen(
                ["sh", "-c", join, "sh", *self._nspawn(host)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        (place / "pid").write_text(str(process.pid), encoding="ascii")

    def _nspawn(self, host: Host) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
            *("--capability=CAP_NET_ADMIN", f"--machine={host.name}"),
            f"--directory={self._state / host.name / 'root'}",
            f"--network-namespace-path=/run/netns/{host.netns}",
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"),
            f"--bind-ro={repository(self._cache)}:{REPOSITORY}",
        ]

    def root(self, host: Host) -> Path:
        """The host's files, seen from outside."""
        return self._state / host.name / "root"

    def runs(self, host: Host) -> bool:
        """Has it any process?"""
        return any(_members(group) for group in _groups(host.name))

    def power_off(self, host: Host) -> None:
        """As a pulled plug: the cable first, because a namespace without processes goes on
        answering for its addresses; then every process at once."""
        network.cut(host)
        kill_group(host.name)

    def wipe(self, host: Host) -> None:
        """What a host that is off has on its disk is gone; `install` makes it another machine."""
        place = self._state / host.name
        _unmount(place / "root")
        for part in ("upper", "work", "root"):
            shutil.rmtree(place / part)

    def power_on(self, host: Host) -> None:
        """Boots a host that was powered off, with the disk that it had."""
        network.address(host)
        network.mend(host)
        self.boot(host)


def kill_group(name: str = "") -> None:
    """Kills every process of a host, or of all. Raises LabError when some stay."""
    for _ in range(200):
        pids = {pid for group in _groups(name) for pid in _members(group)}
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    raise LabError(f"processes of the lab do not end: {sorted(pids)}")


def remove_all(state: Path, names: list[str]) -> None:
    """What hosts leave outside themselves, however far they had come."""
    kill_group()
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for mount in reversed([Path(line.split()[1]) for line in mounts]):
        if mount.is_relative_to(state):
            _unmount(mount)
    for group in sorted(_groups(""), reverse=True):
        group.rmdir()
    for name in names:
        shutil.rmtree(_NSPAWN / "propagate" / name, ignore_errors=True)
        (_NSPAWN / "locks" / name).unlink(missing_ok=True)
    shutil.rmtree(state, ignore_errors=True)


def _unmount(mount: Path) -> None:
    # By what nspawn locks a directory: it leaves the file behind when it is killed.
    root = mount.stat()
    (_NSPAWN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink(missing_ok=True)
    run("umount", str(mount))


def memory_available() -> int:
    """Bytes that processes may still have."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(found) << 10


def may_group() -> bool:
    """May cgroups be made here?"""
    for hierarchy in _hierarchies():
        probe = hierarchy / f"{PREFIX}-probe"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError:
            return False
    return bool(_hierarchies())


def leftovers(state: Path, names: list[str]) -> list[str]:
    """What there is of hosts: processes, mounts, cgroups, files."""
    found = [f"process {pid}" for group in _groups("") for pid in _members(group)]
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    found += [f"mount {line.split()[1]}" for line in mounts
              if Path(line.split()[1]).is_relative_to(state)]  # fmt: skip
    found += [f"cgroup {group}" for group in _groups("")]
    places = [state, *(_NSPAWN / "propagate" / name for name in names)]
    places += [_NSPAWN / "locks" / name for name in names]
    return found + [str(place) for place in places if place.exists()]


def _hierarchies() -> list[Path]:
    """Where cgroups are made: one place (version 2), or those that systemd uses beside it."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for name in ("unified", "systemd", "memory") if (path := _CGROUPS / name).is_dir()]


def _groups(name: str) -> list[Path]:
    """The cgroup of a host in each hierarchy, and all below it."""
    tops = [hierarchy / PREFIX / name for hierarchy in _hierarchies()]
    return [Path(place) for top in tops for place, _, _ in os.walk(top)]


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return []
