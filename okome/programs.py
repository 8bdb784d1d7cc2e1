"""The programs of the distribution that the cluster uses when they are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

# Debian keeps haproxy in /usr/sbin, which is not on an ordinary user's PATH.
_ALSO = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# program -> (apt package, what is lacking without it)
DISTRIBUTION = {
    "haproxy": (
        "haproxy",
        "one address for all brokers: no failover and no stickiness, "
        "clients talk to the first broker only",
    ),
    "redis-server": (
        "redis-server",
        "a log that outlives a broker: durability is `none`, "
        "a stream whose broker dies is lost and resumes on its home only",
    ),
    "prometheus": (
        "prometheus",
        "figures over time: no page of `okome dash`, no alerts; `okome top` works",
    ),
}


def find_program(name: str, environment: Mapping[str, str]) -> str | None:
    """Path of a program, looked for on PATH and where distributions put daemons."""
    places = os.pathsep.join([environment.get("PATH", os.defpath), *_ALSO])
    return shutil.which(name, path=places)


def lacking(environment: Mapping[str, str]) -> list[str]:
    """One line per missing program: what the cluster does without, and how to get it."""
    lines = []
    for program, (package, loss) in DISTRIBUTION.items():
        if find_program(program, environment) is None:
            lines.append(f"{program} is missing, so without {loss} (apt-get install {package})")
    return lines
