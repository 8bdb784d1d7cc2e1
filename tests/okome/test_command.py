"""The command's own manners: help, usage errors, documents that are kept current."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from inventory.settings import Settings
from okome.doctor import Finding, examine, findings_json
from okome.settings_doc import settings_json, settings_markdown

ROOT = Path(__file__).parent.parent.parent
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def okome(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "okome", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_teaches_and_imports_nothing_heavy() -> None:
    done = okome("--help", PYTHONPROFILEIMPORTTIME="1")

    assert done.returncode == 0
    for command in ("up", "down", "status", "logs", "doctor", "stop", "start", "drain", "url"):
        assert f"\n  {command} " in done.stdout
    assert "Exit status" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"httpx", "yaml", "msgspec", "cryptography", "asyncio", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["stop"], ["up", "--engine", "http://x:1"], ["logs", "-n", "-1"]],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert okome(*arguments).returncode == 2


def test_commands_of_a_cluster_that_does_not_run_say_so(tmp_path: Path) -> None:
    for command in (["status"], ["url"], ["stop", "x"], ["start", "x"], ["drain", "x"]):
        done = okome(*command, OKOME_STATE_DIR=str(tmp_path / "no where"))
        assert done.returncode == 1
        assert "OKOME is not running" in done.stderr
        assert "start it with `okome up`" in done.stderr


def test_the_settings_page_is_current() -> None:
    # After a change: scripts/settings-doc
    page = ROOT / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_markdown()


def test_every_setting_is_listed_with_its_variable() -> None:
    listed = {entry["name"]: entry for entry in settings_json()}
    assert set(listed) == set(Settings.__struct_fields__)
    assert listed["heartbeat"]["variable"] == "OKOME_HEARTBEAT"


def test_doctor_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("okome.programs._ALSO", ())
    environment = {
        "PATH": str(tmp_path),
        "OKOME_STATE_DIR": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path),
        "OKOME_HEARTBEAT": "soon",
    }

    findings = {finding.check: finding for finding in examine(None, environment, NOW)}

    assert findings["haproxy"].level == "lacking"
    assert "apt-get install haproxy" in findings["haproxy"].message
    assert findings["redis-server"].level == "lacking"
    assert findings["settings"].level == "bad"
    assert "variable OKOME_HEARTBEAT" in findings["settings"].message


def test_doctor_says_ok_when_nothing_is_bad() -> None:
    findings = [Finding("a", "ok", ""), Finding("b", "lacking", "")]
    assert findings_json(findings)["ok"] is True
    assert findings_json([*findings, Finding("c", "bad", "")])["ok"] is False
