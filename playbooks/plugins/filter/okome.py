"""Filters of the playbooks: what is wrong with an owner's variables, and names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any


def strangers(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """One sentence for each name that is none of the known ones, but close to one."""
    known = sorted(known)
    found = []
    for name in sorted(set(names) - set(known)):
        meant = get_close_matches(name, known, n=1, cutoff=0.8)
        if meant:
            found.append(f"{name} is not known here; `{meant[0]}` may be meant")
    return found


def plainly(errors: Iterable[str]) -> list[str]:
    """What Ansible says of variables against their description, with less around it."""
    found = []
    for error in errors:
        text = re.sub(r"\s+", " ", str(error)).strip()
        text = re.sub(r"^value of (\S+) must be one of", r"\1: expected one of", text)
        text = re.sub(
            r"^argument '(\S+)' is of type (.+?) and we were unable to convert to (\w+).*$",
            r"\1: expected \3, not \2",
            text,
        )
        found.append(text)
    return found


def target(facts: dict[str, Any]) -> str:
    """The kind of node as `okome bundle --target` calls it, by Ansible's facts of a host."""
    system, version = str(facts["distribution"]).lower(), str(facts["distribution_version"])
    if system == "debian":
        version = version.partition(".")[0]
    machine = "-arm64" if facts["architecture"] == "aarch64" else ""
    return f"{system}-{version}{machine}"


class FilterModule:
    """As Ansible finds them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that templates have for them."""
        return {"okome_strangers": strangers, "okome_plainly": plainly, "okome_target": target}
