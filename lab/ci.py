"""The lab as a test: all of it from nothing, a few drills, and down without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab import network
from lab.drill import drill
from lab.drills import QUICK
from lab.lab import PROGRAMS, ROOT, Lab
from lab.machine import may_group
from lab.plays import Report, bundle, play, play_unchanged
from lab.proofs import PROOFS
from lab.shell import LabError, run, succeeds
from lab.topology import PREFIX
from lab.tree import ensure_tree, is_there, mirror

_BEGUN_S = 60.0


def ci(lab: Lab, report: Report, or_skip: bool, whole: bool) -> int:
    """Runs it, with every proof where `whole`. Returns 0 when all is well, or, with `or_skip`,
    where there can be no lab."""
    reason = impossible(lab.cache)
    if reason is not None:
        report(f"{'skipped' if or_skip else 'not possible'}: {reason}")
        return 0 if or_skip else 1
    began = time.monotonic()
    if left := lab.leftovers():
        report(f"taking away the lab that is there, or what is left of it: {', '.join(left)}")
        lab.down()
    try:
        for step in (*_STEPS, *(PROOFS.values() if whole else ())):
            started = time.monotonic()
            report(f"=== {step.__doc__}")
            step(lab, report)
            report(f"=== {step.__doc__}: {time.monotonic() - started:.1f} s")
    finally:
        lab.down()
    report(f"all of it took {time.monotonic() - began:.1f} s; nothing of it is left")
    return 0


def impossible(cache: Path) -> str | None:
    """Why there can be no lab on this machine; None where there can be one."""
    if os.geteuid() != 0:
        return "it needs root"
    lacking = [package for name, package in PROGRAMS.items() if not shutil.which(name)]
    if lacking:
        return f"without {', '.join(lacking)} (scripts/install --cluster)"
    if not is_there(cache) and mirror() is None:
        return "this machine's apt has no source of the hosts' Debian"
    if not _may_namespaces():
        return "network namespaces cannot be made here (a container without the rights for it?)"
    if not may_group():
        return "control groups cannot be made here (a container without the rights for it?)"
    if not _may_mount():
        return "overlays cannot be mounted here (a container without the rights for it?)"
    return None


def _may_namespaces() -> bool:
    name = f"{PREFIX}-probe"
    made = succeeds("ip", "netns", "add", name)
    veth = made and succeeds(
        *("ip", "-n", name, "link", "add", "name", "one", "type", "veth", "peer", "name", "two")
    )
    return succeeds("ip", "netns", "del", name) and made and veth


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        for part in ("lower", "upper", "work", "root"):
            Path(place, part).mkdir()
        layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        root = f"{place}/root"
        mounted = succeeds("mount", "-t", "overlay", PREFIX, "-o", f"{layers},volatile", root)
        if mounted:
            run("umount", root)
    return mounted


def _tree(lab: Lab, report: Report) -> None:
    """the hosts' Debian and their packages are there"""
    ensure_tree(lab.cache, report)


def _interrupted(lab: Lab, _: Report) -> None:
    """an `up` that is interrupted leaves nothing"""
    # What runs in the background of a shell without job control is started deaf to it.
    heard = ("env", "--default-signal=INT")
    command = [*heard, sys.executable, "-P", "-m", "lab", "up"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as up:
        deadline = time.monotonic() + _BEGUN_S
        while not network.namespaces() and up.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        up.send_signal(signal.SIGINT)
        status = up.wait(timeout=_BEGUN_S)
    if status != 130:
        raise LabError(f"an interrupted `up` ended with {status}")
    if left := lab.leftovers():
        raise LabError(f"an interrupted `up` left {', '.join(left)}")


def _up(lab: Lab, _: Report) -> None:
    """every host boots, bare"""
    lab.up()


def _deploy(lab: Lab, report: Report) -> None:
    """site.yml deploys all of it"""
    bundle()
    _green(play(lab, "site", report), "site")


def _again(lab: Lab, report: Report) -> None:
    """a second run changes nothing"""
    play_unchanged(lab, "site", report)


def _verify(lab: Lab, report: Report) -> None:
    """the cluster proves itself"""
    _green(play(lab, "verify", report, "-e", "okome_verify_browser=yes"), "verify")


def _drills(lab: Lab, report: Report) -> None:
    """drills inside of their bounds"""
    faults = [f"{one['drill']}: {fault}" for one in drill(lab, report, QUICK)
              for fault in one["faults"]]  # fmt: skip
    if faults:
        raise LabError("; ".join(faults))


def _green(status: int, name: str) -> None:
    if status != 0:
        raise LabError(f"playbooks/{name}.yml failed ({status})")


_STEPS: tuple[Callable[[Lab, Report], None], ...] = (
    _tree, _interrupted, _up, _deploy, _again, _verify, _drills,
)  # fmt: skip
