"""`--migrate`: the database is made ready before the process that serves is restarted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from control_plane.store.engines import FILE_NAME
from inventory.load import LOCAL
from okome.credentials import ensure_credentials


def migrate(state: Path, credentials: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "control_plane", "--migrate"]
    given = ["--inventory", LOCAL, "--state", state, "--credentials", credentials]
    return subprocess.run([*command, *given], capture_output=True, text=True, check=False)


def test_the_database_is_made_and_nobody_is_served(tmp_path: Path) -> None:
    ensure_credentials(tmp_path / "credentials")
    for _ in range(2):
        done = migrate(tmp_path / "state", tmp_path / "credentials")
        assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "state" / FILE_NAME) as database:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    database.close()
    assert tables > 5


def test_one_that_cannot_be_used_is_told_in_a_line(tmp_path: Path) -> None:
    ensure_credentials(tmp_path / "credentials")
    (tmp_path / "credentials/database_url").write_text("postgresql://", encoding="utf-8")
    done = migrate(tmp_path / "state", tmp_path / "credentials")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
