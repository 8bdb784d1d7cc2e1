"""What is said of packages is what the roles install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from okome.deploy.packages import PACKAGES

ROLES = Path(__file__).parents[3] / "playbooks" / "roles"


def installed(tasks: list[dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for task in tasks:
        name = task.get("ansible.builtin.apt", {}).get("name", [])
        found |= {name} if isinstance(name, str) else set(name)
        found |= installed(task.get("block", []))
    return found


def named(role: Path) -> set[str]:
    """Of a role that installs some of its packages only where they are of use."""
    text = (role / "vars" / "main.yml").read_text("utf-8")
    return set(yaml.safe_load(text)[f"{role.name}_packages"].values())


def test_each_role_installs_the_packages_that_are_named_for_it() -> None:
    said = {}
    for role in sorted(ROLES.iterdir()):
        files = (role / "tasks").glob("*.yml")
        tasks = [task for file in files for task in yaml.safe_load(file.read_text("utf-8")) or []]
        if names := installed(tasks):
            said[role.name] = named(role) if any("{{" in name for name in names) else names
    assert said == {role: set(names) for role, names in PACKAGES.items() if role in said}
    assert "nftables" in said["firewall"]
