"""The playbooks without a host: their grammar, and what must not be forgotten in them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from inventory import load
from okome.deploy.wheels import TARGETS
from tests.okome.deploy.putting import PLAYBOOKS, ROLES

ROOT = PLAYBOOKS.parent
OURS = re.compile(r"\bokome_[a-z_]+\b")
# Modules of ours are called as variables are.
MODULES = {path.stem for path in (PLAYBOOKS / "library").glob("*.py")}
SPEC = ROLES / "preflight/files/variables.yml"
# What upgrade.yml leaves to site.yml, because no release of OKOME is in it.
NOT_OF_A_RELEASE = {"base", "firewall", "postgres", "cache"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def plays(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(PLAYBOOKS / f"{name}.yml")
    return found


def roles_of(value: Any) -> Iterator[str]:
    """Every role that is named in a play or a file of tasks, in whatever way."""
    if isinstance(value, list):
        for each in value:
            yield from roles_of(each)
    elif isinstance(value, dict):
        for each in value.get("roles", ()):
            yield each if isinstance(each, str) else each["role"]
        if isinstance(value.get("role"), str):
            yield value["role"]
        for key, each in value.items():
            if key == "ansible.builtin.include_role":
                yield each["name"]
            elif isinstance(each, str):
                yield from re.findall(r"'role': '(\w+)'", each)
            else:
                yield from roles_of(each)


@pytest.fixture(name="filters", scope="module")
def filters_fixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("filters", PLAYBOOKS / "plugins/filter/okome.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ansible_reads_every_playbook(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    if not program.exists():
        pytest.skip("needs Ansible: scripts/install --test")
    every = sorted(map(str, PLAYBOOKS.glob("*.yml")))
    done = subprocess.run(
        [program, "--syntax-check", *every],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count("playbook: ")) == (0, len(every)), done.stderr


def test_every_role_says_what_it_is_told() -> None:
    for role in ROLES.iterdir():
        spec = read(role / "meta/argument_specs.yml")["argument_specs"]["main"]
        assert spec["short_description"], role.name
        defaults = role / "defaults/main.yml"
        own = set(read(defaults)) if defaults.exists() else set()
        # Tables that a role keeps for itself are not for others to change.
        assert own - set(spec["options"]) <= {"core_gpu_health"}, role.name


def test_what_an_owner_may_say_is_checked_before_anything_is_changed() -> None:
    text = (PLAYBOOKS / "group_vars/all.yml").read_text("utf-8")
    owners = yaml.safe_load(text.partition("# Set by none")[0])
    spec = read(SPEC)

    assert set(spec) == set(owners)
    for role in ROLES.iterdir():
        said = read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        for name in set(said) & set(spec):
            assert said[name]["type"] == spec[name]["type"], f"{role.name}: {name}"
            assert said[name].get("choices") == spec[name].get("choices"), f"{role.name}: {name}"
    names = [play["name"] for play in plays("site")]
    assert names.index("Check what the owner has said") < names.index("Prepare every host")


def test_every_name_of_ours_is_known() -> None:
    known = read(ROLES / "preflight/vars/main.yml")
    parts = (load._Host, load._Vars)
    inventory = {name for part in parts for name in part.__struct_fields__ if "okome" in name}
    # After a change of the inventory: playbooks/roles/preflight/vars/main.yml
    assert set(known["preflight_inventory"]) == inventory
    files = [*PLAYBOOKS.rglob("*.yml"), *PLAYBOOKS.rglob("*.j2")]
    used = {name for file in files for name in OURS.findall(file.read_text("utf-8"))}
    used -= MODULES | {f"okome_{name}" for name in ("plainly", "strangers", "target")}
    assert used <= {*read(SPEC), *known["preflight_own"], *inventory}


def test_a_name_that_is_close_to_one_of_ours_is_a_slip(filters: ModuleType) -> None:
    known = ["okome_database", "okome_alerts"]
    assert filters.strangers(["okome_alerts", "okome_mine"], known) == []
    assert filters.strangers(["okome_databse"], known) == [
        "okome_databse is not known here; `okome_database` may be meant"
    ]


def test_what_ansible_says_of_a_variable_is_said_plainly(filters: ModuleType) -> None:
    said = [
        "value of okome_database must be one of: postgresql, sqlite, got: mysql",
        "argument 'okome_rate_jobs' is of type str and we were unable to convert to int: x",
    ]
    assert filters.plainly(said) == [
        "okome_database: expected one of: postgresql, sqlite, got: mysql",
        "okome_rate_jobs: expected int, not str",
    ]


@pytest.mark.parametrize(
    ("system", "version", "machine", "name"),
    [
        ("Debian", "12.11", "x86_64", "debian-12"),
        ("Debian", "12", "aarch64", "debian-12-arm64"),
        ("Ubuntu", "24.04", "x86_64", "ubuntu-24.04"),
        ("Ubuntu", "24.04", "aarch64", "ubuntu-24.04-arm64"),
    ],
)
def test_a_host_is_called_as_the_bundle_calls_it(
    filters: ModuleType, system: str, version: str, machine: str, name: str
) -> None:
    facts = {"distribution": system, "distribution_version": version, "architecture": machine}
    assert filters.target(facts) == name
    assert name in TARGETS


def test_an_upgrade_takes_along_all_that_comes_with_a_release() -> None:
    placed = set(roles_of(plays("site"))) - {"preflight", "tls"}
    upgraded = set(roles_of(plays("upgrade")))

    assert {"prometheus", "exporters", "broker"} <= placed
    assert placed - upgraded - {"release"} == NOT_OF_A_RELEASE


def test_hosts_that_are_only_used_are_never_changed() -> None:
    for name in ("site", "upgrade", "verify", "teardown"):
        for play in plays(name):
            hosts = play["hosts"]
            if play.get("become") and re.search(r"\b(all|core_gpu|cache)\b", hosts):
                asks = [task.get("when") for task in play.get("tasks", ())]
                guarded = "external" in hosts or "managed" in hosts
                assert guarded or asks == ["not okome_external"], play["name"]


def test_nothing_is_restarted_by_what_a_play_has_changed() -> None:
    # docs/adr/0025: a play that was broken off would be forgotten.
    for file in ROLES.rglob("tasks/*.yml"):
        assert not re.search(r" is changed (or|else)|when: .* is changed", file.read_text("utf-8"))


def test_every_unit_is_hardened() -> None:
    units = list(ROLES.rglob("templates/*.service.j2"))
    assert len(units) > 15
    for unit in units:
        text = unit.read_text("utf-8")
        assert "{% include 'hardening.j2' %}" in text, unit.name
        assert text.startswith("# Put here by Ansible (role "), unit.name
