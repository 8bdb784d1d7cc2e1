"""Which packages a machine needs that is not this one, by what wheels say of themselves.

pip answers "only for Python before 3.11.3" for the Python that it runs on, also where it is
told to download for another. A wheel that only the nodes need is then missing there.
"""

from __future__ import annotations

import email
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The oldest C library among the systems that are supported: Debian 12's.
_GLIBC_MINOR = 36


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of node: its Python, exactly, its architecture, and its C library's 2.x."""

    python: str
    machine: str
    glibc_minor: int = _GLIBC_MINOR

    @property
    def name(self) -> str:
        """`cp311-x86_64`."""
        return f"cp{''.join(self.python.split('.')[:2])}-{self.machine}"

    def environment(self) -> dict[str, str]:
        """What the markers of requirements are judged by."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python,
            "python_version": ".".join(self.python.split(".")[:2]),
            "sys_platform": "linux",
        }

    def pip_options(self) -> list[str]:
        """By which pip downloads for it."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(_GLIBC_MINOR, 4, -1)]
        tags += [f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        python = ".".join(self.python.split(".")[:2])
        platforms = [word for tag in tags for word in ("--platform", tag)]
        return ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
                *platforms]  # fmt: skip


TARGETS = {
    "debian-12": Target("3.11.2", "x86_64"),
    "ubuntu-24.04": Target("3.12.3", "x86_64", 39),
    "debian-12-arm64": Target("3.11.2", "aarch64"),
    "ubuntu-24.04-arm64": Target("3.12.3", "aarch64", 39),
}


def requirements_of(wheel: Path) -> list[str]:
    """What a wheel says that it requires. Raises OSError or KeyError for one that is none."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(metadata))
    return [str(value) for value in message.get_all("Requires-Dist", [])]


def name_of(wheel: Path) -> str:
    """The package in a wheel, in the form in which names are compared."""
    return canonicalize_name(wheel.name.partition("-")[0])


def missing(
    requirements: Iterable[tuple[str, str]], present: set[str], target: Target
) -> list[str]:
    """Those of (requirement, extra for which it is asked) that the target needs and has not."""
    found = []
    for text, extra in requirements:
        requirement = Requirement(text)
        environment = {**target.environment(), "extra": extra}
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        if canonicalize_name(requirement.name) not in present:
            requirement.marker = None
            found.append(str(requirement))
    return sorted(set(found))
