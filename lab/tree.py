"""What every host starts from: a Debian tree, made once, and a repository of packages.

Both are kept in the cache directory. The tree is bare: what the playbook needs it must
install, out of the repository, which is all that a host can reach.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.shell import LabError, run
from okome.deploy.packages import all_packages

RELEASE = "bookworm"
USER = "okome"
REPOSITORY = "/srv/lab/repository"
# A host as its owner hands it over: reachable by SSH, with Python, and no more.
_BARE = (
    "systemd", "systemd-sysv", "dbus", "udev", "python3", "python3-apt", "iproute2",
    "iputils-ping", "openssh-server", "sudo", "ca-certificates", "procps",
)  # fmt: skip
# What roles install, and what a client is looked at with.
_OFFERED = (*all_packages(), "python3-venv", "curl")
_MASKED = (
    "systemd-networkd.service", "systemd-resolved.service", "apt-daily.timer",
    "apt-daily-upgrade.timer", "getty.target", "console-getty.service",
)  # fmt: skip


def tree(cache: Path) -> Path:
    """Where the tree is once it is made."""
    return cache / "tree"


def repository(cache: Path) -> Path:
    """Where the packages are once they are there."""
    return cache / "repository"


def ensure_tree(cache: Path, report: Callable[[str], None]) -> None:
    """Makes both unless they are there as this module wants them. Raises LabError."""
    if is_there(cache):
        return
    report("making the Debian tree and the repository of packages (about a minute, once)")
    _unmount_below(tree(cache))
    for directory in (tree(cache), repository(cache)):
        shutil.rmtree(directory, ignore_errors=True)
    (repository(cache) / "partial").mkdir(parents=True)
    _bootstrap(tree(cache))
    _gather(tree(cache), repository(cache))
    _furnish(tree(cache))
    (cache / "stamp").write_text(_wanted(), encoding="ascii")


def is_there(cache: Path) -> bool:
    """Are both there as this module wants them?"""
    stamp = cache / "stamp"
    return stamp.exists() and stamp.read_text(encoding="ascii") == _wanted()


def _wanted() -> str:
    made_of = Path(__file__).read_bytes() + repr(_OFFERED).encode()
    return hashlib.sha256(made_of).hexdigest()


def mirror() -> str | None:
    """From where this machine's apt would get the hosts' Debian; None from nowhere."""
    return next(
        iter(
            run(
                *("apt-get", "indextargets", "--format", "$(SITE)"),
                *("Created-By: Packages", f"Codename: {RELEASE}"),
            ).split()
        ),
        None,
    )


def _unmount_below(place: Path) -> None:
    """What a debootstrap that was killed has left there."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for mount in reversed([Path(line.split()[1]) for line in mounts]):
        if mount.is_relative_to(place):
            run("umount", str(mount))


def _bootstrap(target: Path) -> None:
    source = mirror()
    if source is None:
        raise LabError(f"this machine's apt has no source of Debian {RELEASE}; run apt-get update")
    included = f"--include={','.join(_BARE)}"
    run("debootstrap", "--variant=minbase", included, RELEASE, str(target), source)


def _gather(target: Path, packages: Path) -> None:
    """Everything that the offered packages need beyond the tree, by this machine's apt."""
    for package in (target / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    run(
        *("apt-get", "install", "--download-only", "--yes", "--no-install-recommends"),
        *("-o", f"Dir::State::status={target}/var/lib/dpkg/status"),
        *("-o", f"Dir::Cache::archives={packages}", "-o", "Debug::NoLocking=1"),
        *("-o", "APT::Keep-Downloaded-Packages=true", *_OFFERED),
    )
    index = run("sh", "-c", f"cd '{packages}' && dpkg-scanpackages --multiversion .")
    (packages / "Packages").write_text(index, encoding="utf-8")
    shutil.rmtree(packages / "partial")


def _furnish(target: Path) -> None:
    etc = target / "etc"
    source = f"deb [trusted=yes] file:{REPOSITORY} ./\n"
    (etc / "apt/sources.list").write_text(source, encoding="utf-8")
    apt = 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n'
    (etc / "apt/apt.conf.d/90lab").write_text(apt, encoding="utf-8")
    # A lab that loses its power is made anew: nothing in it needs to be safe on a disk.
    (etc / "dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n", encoding="utf-8")
    run("chroot", str(target), "useradd", "--create-home", "--shell", "/bin/bash", USER)
    (etc / f"sudoers.d/{USER}").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n", encoding="utf-8")
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()
    (target / REPOSITORY.lstrip("/")).mkdir(parents=True)
    run("chroot", str(target), "systemctl", "mask", *_MASKED)
