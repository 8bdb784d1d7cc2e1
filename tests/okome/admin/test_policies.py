"""`okome policy`, as a person and as a script use it, on a real control plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from inventory.load import LOCAL
from okome.admin.policy_text import changes_text, policy_text
from okome.cli import app
from okome.errors import OkomeError
from okome.paths import own_policy
from okome.policy_check import check_policy
from okome.prepare import Options, checked_policy
from tests.okome.admin.conftest import Place

GOOD = """\
version: 1
models: {}
tiers: {gold: {streams: 3}}
tools: {weather: {kind: http, url: "http://x", headers: {Authorization: secret}}}
"""
BAD = GOOD.replace("streams: 3", "streams: 0").replace("{gold", "{Gold: {}, gold")
FAULTS = [
    "tiers.Gold: expected a name of 1 to 64 of a-z 0-9 . _ @ + and -",
    "tiers.gold.streams: expected a whole number from 1 to 10000000, not 0",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text(GOOD)
    return path


def run(place: Place, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["policy", *arguments], env=place.environment)


def test_a_file_is_checked_without_a_control_plane(place: Place, file: Path) -> None:
    done = run(place, "check", str(file))
    assert (done.exit_code, "can be used" in done.stdout) == (0, True)
    assert json.loads(run(place, "check", str(file), "--json").stdout)["faults"] == []


def test_each_fault_is_a_line_and_the_status_is_1(place: Place, file: Path) -> None:
    file.write_text(BAD)
    done = run(place, "check", str(file))
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"{file}:3: {fault}" for fault in FAULTS]
    done = run(place, "check", str(file), "--json")
    assert done.exit_code == 1
    first, second = json.loads(done.stdout)["faults"]
    assert (first["line"], first["path"], second["path"]) == (3, "tiers.Gold", "tiers.gold.streams")


def test_engines_are_those_of_the_inventory_that_is_named(place: Place, file: Path) -> None:
    file.write_text("version: 1\nmodels: {a: {engines: [{engine: vllm}]}}\n")
    done = run(place, "check", str(file))
    assert "no engine of the inventory is called 'vllm'; engines are none" in done.stderr
    assert run(place, "check", str(file), "--inventory", str(LOCAL)).exit_code == 0
    with pytest.raises(OkomeError, match="cannot be read"):
        check_policy(file, file.parent / "none.yml")


def test_the_policy_that_holds_is_shown(place: Place) -> None:
    shown = place.json("policy", "show")
    assert (shown["source"], shown["faults"], shown["policy"]["models"]) == (None, [], {})
    text = place.okome("policy", "show")
    assert f"version  {shown['version']}\n" in text
    assert "from     the inventory" in text
    assert "calculator:\n    kind: calculator" in text


def test_what_a_file_would_change_is_shown_without_its_secrets(place: Place, file: Path) -> None:
    answer = place.json("policy", "diff", str(file))
    changed = {change["path"]: change["change"] for change in answer["changes"]}
    assert changed == {
        "tiers.gold": "added",
        "tools.weather": "added",
        "tools.time": "removed",
        "tools.calculator": "removed",
    }
    lines = place.okome("policy", "diff", str(file)).splitlines()
    assert '- tools.time: {"kind": "time"}' in lines
    assert any(line.startswith("+ tiers.gold: {") for line in lines)
    assert "secret" not in "".join(lines)
    file.write_text(
        "version: 1\nmodels: {}\ntools: {time: {kind: time}, calculator: {kind: calculator}}"
    )
    assert place.okome("policy", "diff", str(file)).startswith("nothing changes against ")


def test_a_bad_file_has_no_difference(place: Place, file: Path) -> None:
    file.write_text(BAD)
    done = run(place, "diff", str(file))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"{file}:3: {fault}" for fault in FAULTS]
    with pytest.raises(OkomeError, match="cannot be read"):
        place.okome("policy", "diff", str(file.parent / "none.yml"))


def test_up_takes_the_users_own_file_and_refuses_a_bad_one(file: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(file.parent)}
    own = file.parent / "okome" / "policy.yml"
    assert own_policy(home) is None
    own.parent.mkdir()
    own.write_text(BAD)
    assert own_policy(home) == own
    with pytest.raises(OkomeError, match=r"okome/policy.yml:3: tiers.Gold: .* \(and 1 more; "):
        checked_policy(Options(), LOCAL, home)
    assert checked_policy(Options(policy=file), LOCAL, home) == file
    own.unlink()
    assert checked_policy(Options(), LOCAL, home) is None


def test_what_changes_is_told_in_a_line_each() -> None:
    changes: list[dict[str, Any]] = [
        {"path": "aliases.a", "change": "changed", "before": "b", "after": "c"},
        {
            "path": "gpus.g",
            "change": "added",
            "before": None,
            "after": {"jobs": None, "mode": "shared"},
        },
    ]
    assert changes_text({"against": "1", "changes": changes}).splitlines() == [
        '~ aliases.a: "b" → "c"',
        '+ gpus.g: {"mode": "shared"}',
    ]
    shown = policy_text(
        {
            "version": "7",
            "source": "/etc/p.yml",
            "taken_at": 0,
            "age_s": 7300.0,
            "refused_at": 60,
            "faults": ["p.yml:1: is empty"],
            "policy": {"version": 1},
        }
    )
    assert "since    1970-01-01 00:00:00 (2 h ago)" in shown
    assert (
        "REFUSED  the file as it is since 1970-01-01 00:01:00:\n         p.yml:1: is empty" in shown
    )
