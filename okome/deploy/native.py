"""The native part in a bundle: built here, so for nodes whose Python and machine are this one's.

Nodes that it cannot be built for do without.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

from okome.deploy.pip import run_pip
from okome.deploy.wheels import Target
from okome.errors import OkomeError

SOURCE = Path(__file__).parents[2] / "native"
_LOSS = "a token takes a broker more CPU time, and nothing else"


def planned(targets: Iterable[Target], report: Callable[[str], None]) -> dict[str, str]:
    """The targets, by name, that it can be built for, with what differs when something else
    would be built. Reports the others."""
    found = {}
    for target in targets:
        if (reason := fault(target)) is None:
            found[target.name] = _digest()
        else:
            report(f"without the native part for {target.name} ({reason}): {_LOSS}")
    return found


def build(directory: Path, report: Callable[[str], None]) -> Path | None:
    """The wheel. Reports where it cannot be built, and returns None."""
    # Of a copy: a build leaves its files beside the sources.
    copy = directory / "source"
    copy.mkdir(parents=True)
    for path in _sources():
        shutil.copy(path, copy)
    compiler = _compiler() or "cc"
    try:
        run_pip("wheel", "--no-deps", "--wheel-dir", str(directory), str(copy), CC=compiler)
    except OkomeError as error:
        report(f"without the native part ({error}): {_LOSS}")
        return None
    (wheel,) = directory.glob("okome_native-*.whl")
    return wheel


def fault(target: Target) -> str | None:
    """Why it cannot be built here for the target; None where it can."""
    if (here := _this_machine()) != target.name:
        return f"this machine builds for {here} only"
    library, version = platform.libc_ver()
    if library != "glibc":
        return "this machine's C library is not glibc"
    if tuple(map(int, version.split(".")[:2])) > (2, target.glibc_minor):
        return f"this machine's glibc {version} is newer than theirs, 2.{target.glibc_minor}"
    if _compiler() is None:
        return "there is no C compiler: apt-get install gcc libc6-dev"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not here: apt-get install python3-dev"
    return None


def _this_machine() -> str:
    """As the name of a target."""
    kind = "cp" if sys.implementation.name == "cpython" else sys.implementation.name
    version = f"{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
    return f"{kind}{version}-{sysconfig.get_platform().removeprefix('linux-')}"


def _compiler() -> str | None:
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


def _sources() -> list[Path]:
    """Without what one builds there by hand."""
    found = (path for path in SOURCE.iterdir() if path.is_file())
    return sorted(path for path in found if path.suffix not in (".c", ".so"))


def _digest() -> str:
    found = hashlib.sha256()
    for path in _sources():
        found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()
