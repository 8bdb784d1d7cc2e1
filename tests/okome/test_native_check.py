"""What `okome doctor` finds of the native part."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from okome.doctor import Finding, examine
from stream_broker import native

ROOT = Path(__file__).parent.parent.parent
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
NAMED = f"FITS = {native._FITS}\nIntake = Outlet = None\n"
FITS = f"{NAMED}def Layout(*_, **__): pass\n"


@pytest.fixture(name="place")
def place_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What lies here comes before what is installed, in processes that are started."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return tmp_path


def look(place: Path, module: str, **variables: str) -> Finding:
    (place / "okome_native.py").write_text(module, encoding="utf-8")
    environment = {"OKOME_STATE_DIR": str(place / "state"), "XDG_CACHE_HOME": str(place)}
    (found,) = (
        finding
        for finding in examine(None, environment | variables, NOW)
        if finding.check == "native"
    )
    return found


def test_one_that_is_there(place: Path) -> None:
    assert look(place, FITS) == Finding("native", "ok", "okome_native is installed")


def test_none(place: Path) -> None:
    absent = "No module named 'okome_native'"
    found = look(place, f'raise ModuleNotFoundError("{absent}", name="okome_native")')
    assert found.level == "lacking"
    assert found.message.startswith("without the native part: a token takes a broker about twice")
    assert "apt-get install gcc python3-dev" in found.message


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            'raise ImportError("undefined symbol: _Py_x")',
            "undefined symbol: _Py_x (scripts/install",
        ),
        (f"{FITS}def Layout(types, **_): types['Relay'].gone\n", "has no attribute 'gone'"),
        (NAMED, "has no attribute 'Layout'"),
        ("FITS = 0\n", "Misfit: it fits 0"),
    ],
)
def test_one_that_brokers_pass_over(place: Path, module: str, said: str) -> None:
    found = look(place, module)
    assert found.level == "lacking"
    assert said in found.message


def test_one_that_ends_brokers(place: Path) -> None:
    module = "import os; os._exit(3)\n"
    found = look(place, module)
    assert found.level == "bad"
    assert "with status 3" in found.message
    # Unless they do not take it.
    assert look(place, module, OKOME_NATIVE="off").level == "ok"
