"""When a unit is restarted: by what is newer than it, whoever has put that there."""

from __future__ import annotations

import datetime
import importlib.util
import os
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
    now = shown(unit)
    assert not service.is_stale(now, [read, str(tmp_path / "nowhere")], False)
    assert service.verb(now, False, False) is None


def test_a_newer_file_restarts_also_below_a_directory(service: ModuleType, tmp_path: Path) -> None:
    unit = file(tmp_path / "unit", -1)
    file(tmp_path / "dir/read", 0.001)
    now = shown(unit)
    assert service.is_stale(now, [str(tmp_path / "dir")], False)
    assert service.verb(now, True, False) == "restart"


def test_where_a_reload_is_enough_it_is_a_reload_and_once(
    service: ModuleType, tmp_path: Path
) -> None:
    unit, read = file(tmp_path / "unit", -1), file(tmp_path / "read", 5)
    assert service.is_stale(shown(unit), [read], True)
    assert service.verb(shown(unit), True, True) == "reload"
    reloaded = (BEGUN + datetime.timedelta(seconds=6)).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert not service.is_stale(shown(unit, changed=reloaded), [read], True)


def test_a_newer_description_of_the_unit_is_never_only_reloaded(
    service: ModuleType, tmp_path: Path
) -> None:
    unit = file(tmp_path / "unit", 1)
    late = (BEGUN + datetime.timedelta(seconds=6)).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert service.is_stale(shown(unit, changed=late), [], True)
    assert service.verb(shown(unit), True, True) == "restart"


def test_what_does_not_run_is_started(service: ModuleType, tmp_path: Path) -> None:
    unit, read = file(tmp_path / "unit", 1), file(tmp_path / "read", 1)
    for state in ("inactive", "failed"):
        assert not service.is_stale(shown(unit, state), [read], False)
        assert service.verb(shown(unit, state), False, False) == "start"
