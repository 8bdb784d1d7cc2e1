"""What the playbook's roles put on a host, read from their tasks as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
ROLES = PLAYBOOKS / "roles"
# What stands at the beginning of a path in the roles, and an example of it.
PLACES = {
    "okome_release_dir": "/opt/okome/releases/1",
    "okome_engine_dir": "/opt/okome/parts/engine-1",
    "release_places[item]": "/opt/okome/parts/libraries-1",
    "artifact_place": "/opt/okome/artifacts/loki-1",
    "postgres_place": "/etc/postgresql/15/okome",
}
# They say where something is that is only looked at, or is gone afterwards.
_LOOKING = ("ansible.builtin.stat", "ansible.builtin.find", "ansible.builtin.tempfile")
_NAMING = re.compile(r"\{\{(.*?)\}\}")
_STATE = re.compile(r"^(State|Logs|Cache|Configuration)Directory=(.+)$", re.MULTILINE)
_KINDS = {"State": "/var/lib", "Logs": "/var/log", "Cache": "/var/cache",
          "Configuration": "/etc"}  # fmt: skip


@dataclass
class Put:
    """Of one role. `paths`: files and directories; `masked`: units of the distribution."""

    paths: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)


@cache
def put_by(role: Path) -> Put:
    """Everything that a role leaves on a host, but packages."""
    found = Put()
    for file in sorted([*role.glob("tasks/*.yml"), *role.glob("vars/*.yml")]):
        for value in _walk(yaml.safe_load(file.read_text("utf-8"))):
            _note(value, found)
    for file in sorted(role.rglob("*.service*")):
        for kind, names in _STATE.findall(file.read_text("utf-8")):
            found.paths |= {f"{_KINDS[kind]}/{name}" for name in _NAMING.sub("x", names).split()}
    found.masked = {unit for name in found.masked for unit in _each(role, name)}
    return found


def _each(role: Path, name: str) -> list[str]:
    """Of a name with a variable in it, those that it stands for: one for each package."""
    if _NAMING.search(name) is None:
        return [name]
    packages = yaml.safe_load((role / "vars/main.yml").read_text("utf-8"))[f"{role.name}_packages"]
    return [_NAMING.sub(key, name) for key in packages]


def _note(value: dict[str, Any], found: Put) -> None:
    if value.get("link") == "/dev/null":
        found.masked.add(Path(value["path"]).name)
        return
    for key in ("path", "dest"):
        said = value.get(key)
        if isinstance(said, str) and value.get("state") != "absent":
            found.paths.add(_plain(said))
    if "copies" in value:
        found.paths.add(_plain(f"{value['copies']['to']}/each"))
    if user := value.get("ansible.builtin.user"):
        found.users.add(user["name"])
    if value.get("masked"):
        found.masked.add(value["name"])
    for word in value.get("argv", ()) if "pg_createcluster" in value.get("argv", ()) else ():
        if word == "okome":
            found.paths |= {"/var/lib/postgresql/15/okome", "/etc/postgresql/15/okome"}


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a role that is of the host: not what is done on the machine that deploys."""
    if isinstance(value, list):
        for each in value:
            yield from _walk(each)
    elif isinstance(value, dict) and value.get("delegate_to") != "localhost":
        yield value
        for key, each in value.items():
            if key not in _LOOKING:
                yield from _walk(each)


def _plain(path: str) -> str:
    """With an example in each place of a variable."""
    for name, example in PLACES.items():
        path = re.sub(r"^\{\{ *" + re.escape(name) + r" *\}\}", example, path)
    if not path.startswith("/"):
        raise AssertionError(f"say in {__file__} where {path} is")
    return _NAMING.sub("x", path)
