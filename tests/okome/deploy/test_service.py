"""When a unit is restarted: by what is newer than it, whoever has put that there."""

from __future__ import annotations

import datetime
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[3] / "playbooks/library/okome_service.py"
BEGUN = datetime.datetime(2026, 11, 21, 17, 7, 45, 123456, tzinfo=datetime.UTC)


@pytest.fixture(name="service", scope="module")
def service_fixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("okome_service", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def file(path: Path, after: float) -> str:
    """One that was written so many seconds after the unit had begun."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (BEGUN.timestamp() + after,) * 2)
    return str(path)


def shown(unit: str, state: str = "active", changed: str = "") -> dict[str, str]:
    stamp = BEGUN.strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    return {
        "ActiveState": state,
        "FragmentPath": unit,
        "DropInPaths": "",
        "ExecMainStartTimestamp": stamp,
        "StateChangeTimestamp": changed or stamp,
    }


def test_what_systemctl_says_is_understood(service: ModuleType) -> None:
    told = service.parse("ActiveState=active\nExecStart=a=b\n\n")
    assert told == {"ActiveState": "active", "ExecStart": "a=b"}
    assert service.seconds("Sat 2026-11-21 17:07:45.123456 UTC") == BEGUN.timestamp()
    assert (service.seconds(""), service.seconds("n/a")) == (0.0, 0.0)


def test_what_runs_with_older_files_is_left_alone(service: ModuleType, tmp_path: Path) -> None:
    unit, read = file(tmp_path / "unit", -1), file(tmp_path / "dir/read", -0.001)
    assert service.verb(shown(unit), [read, str(tmp_path / "nowhere")], [read]) == ""


def test_a_newer_file_restarts_also_below_a_directory(service: ModuleType, tmp_path: Path) -> None:
    unit = file(tmp_path / "unit", -1)
    file(tmp_path / "dir/read", 0.001)
    assert service.verb(shown(unit), [str(tmp_path / "dir")], []) == "restart"


def test_where_a_reload_is_enough_it_is_a_reload_and_once(
    service: ModuleType, tmp_path: Path
) -> None:
    unit, read = file(tmp_path / "unit", -1), file(tmp_path / "read", 5)
    assert service.verb(shown(unit), [], [read]) == "reload"
    reloaded = (BEGUN + datetime.timedelta(seconds=6)).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert service.verb(shown(unit, changed=reloaded), [], [read]) == ""


def test_a_reload_is_not_enough_where_something_is_read_at_the_start_only(
    service: ModuleType, tmp_path: Path
) -> None:
    unit = file(tmp_path / "unit", -1)
    key, rules = file(tmp_path / "key", 3), file(tmp_path / "rules", 5)
    late = (BEGUN + datetime.timedelta(seconds=6)).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert service.verb(shown(unit), [key], [rules]) == "restart"
    assert service.verb(shown(unit, changed=late), [key], [rules]) == "restart"


def test_a_newer_description_of_the_unit_is_never_only_reloaded(
    service: ModuleType, tmp_path: Path
) -> None:
    unit = file(tmp_path / "unit", 1)
    late = (BEGUN + datetime.timedelta(seconds=6)).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert service.verb(shown(unit, changed=late), [], []) == "restart"


def test_what_does_not_run_is_started(service: ModuleType, tmp_path: Path) -> None:
    unit, read = file(tmp_path / "unit", 1), file(tmp_path / "read", 1)
    for state in ("inactive", "failed"):
        assert service.verb(shown(unit, state), [read], [read]) == "start"


# A `systemctl` that tells what is in a file and notes what it is asked to do.
SYSTEMCTL = """#!/bin/sh
if [ "$1" = show ]; then cat "$HOST/shown"; else echo "$*" >>"$HOST/asked"; fi
"""


@pytest.fixture(name="asked")
def asked_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What systemctl was asked to do."""
    program = tmp_path / "programs/systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOST", str(tmp_path))
    (tmp_path / "asked").touch()
    return lambda: (tmp_path / "asked").read_text().splitlines()


def tell(place: Path, **more: str) -> None:
    """What systemctl says of the unit from now on."""
    said = {"LoadState": "loaded", "UnitFileState": "enabled", "NeedDaemonReload": "no", **more}
    (place / "shown").write_text("".join(f"{name}={value}\n" for name, value in said.items()))


def test_a_new_unit_is_read_enabled_and_started(
    service: ModuleType, tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    new = {"LoadState": "not-found", "UnitFileState": "", "ExecMainStartTimestamp": "n/a"}
    tell(tmp_path, **shown("", "inactive") | new)

    assert service.settle("okome-x.service", [], [], True) == (True, "start")
    assert asked() == ["daemon-reload", "enable okome-x.service", "start okome-x.service"]


def test_a_dry_run_says_what_is_due_and_asks_for_nothing(
    service: ModuleType, tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    rules = file(tmp_path / "rules", 1)
    tell(tmp_path, **shown(""))

    assert service.settle("okome-x.service", [], [rules], False) == (True, "reload")
    assert service.settle("okome-x.service", [], [], True) == (False, "")
    assert asked() == []


def test_what_runs_is_left_alone_and_told_of_where_it_is_not_to_be_restarted(
    service: ModuleType, tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    conf = file(tmp_path / "conf", 1)
    tell(tmp_path, **shown(""))

    seen = service.settle("okome-x.service", [conf], [], True, restart=False)

    assert seen == (False, "restart")
    assert not any("restart" in words for words in asked())
