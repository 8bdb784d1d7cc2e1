"""What the lab's proofs say of the playbooks and settings is so: they run too seldom to tell."""

from __future__ import annotations

import yaml

from inventory.settings import Settings
from lab import proofs
from lab.lab import ROOT

ROLES = ROOT / "playbooks/roles"


def tasks(role: str) -> set[str]:
    """The names of all."""
    files = (ROLES / role / "tasks").glob("*.yml")
    return {task["name"] for file in files for task in yaml.safe_load(file.read_text("utf-8"))}


def test_a_run_is_killed_at_a_task_that_there_is() -> None:
    role, task = proofs.KILLED_AT

    assert task in tasks(role)


def test_a_run_that_is_killed_changes_settings_that_there_are() -> None:
    assert set(proofs.OTHERWISE) <= set(Settings.__struct_fields__)
    assert all(getattr(Settings(), name) != value for name, value in proofs.OTHERWISE.items())
