"""What the roles put on a host is what teardown.yml takes away, with programs that only note."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.okome.deploy.putting import PLAYBOOKS, ROLES, Put, put_by

SCRIPT = PLAYBOOKS / "files/teardown.sh"
# Directories that are there, or may be, without OKOME.
LEFT = {"/etc/systemd/system", "/etc/sysctl.d", "/etc/haproxy", "/etc/keepalived",
        "/etc/postgresql", "/etc/postgresql-common", "/usr/local/bin", "/usr/local/lib",
        "/opt", "/var/lib", "/var/lib/private", "/var/lib/postgresql"}  # fmt: skip
# Each notes how it was called; nft and id say that there is what they are asked for.
_NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >>"$NOTES"\n'
PROGRAMS = ("systemctl", "nft", "id", "userdel", "pg_dropcluster")
# Of the roles' tasks, what teardown.sh knows a file of OKOME's by.
WRITTEN = "# Put here by Ansible (role each).\n"


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path) -> Path:
    """The root of a host on which every role was at work."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(_NOTES)
        (programs / name).chmod(0o755)
    root = tmp_path / "root"
    for role in sorted(ROLES.iterdir()):
        _put(root, put_by(role))
    return root


def _put(root: Path, put: Put) -> None:
    for path in sorted(put.paths):
        place = root / path.lstrip("/")
        # Another of the paths is below it, or it is one of directories.
        if place.is_dir() or place.suffix in ("", ".d"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(WRITTEN + "okome\n")
    for unit in put.masked:
        mask = root / "etc/systemd/system" / unit
        mask.parent.mkdir(parents=True, exist_ok=True)
        if not mask.is_symlink():
            mask.symlink_to("/dev/null")


def teardown(root: Path) -> tuple[str, list[str]]:
    """What it says, and the programs that it called."""
    notes = root.parent / "notes"
    notes.write_text("")
    path = f"{root.parent / 'programs'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(SCRIPT), str(root)],
        env={"PATH": path, "NOTES": str(notes)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, notes.read_text().splitlines()


def left(root: Path) -> set[str]:
    """The paths that are still there, without those that others may have made."""
    masks = {f"/etc/systemd/system/{unit}" for role in ROLES.iterdir()
             for unit in put_by(role).masked}  # fmt: skip
    found = {f"/{path.relative_to(root)}" for path in root.rglob("*")} - masks
    return {path for path in found if not any(f"{kept}/".startswith(f"{path}/") for kept in LEFT)}


def test_nothing_that_a_role_puts_on_a_host_is_left(host: Path) -> None:
    before = left(host)
    assert {"/etc/okome/firewall/candidate.nft", "/var/lib/okome-control", "/opt/okome"} <= before

    teardown(host)

    assert left(host) == set()


def test_what_is_no_file_is_taken_away_by_its_own_tool(host: Path) -> None:
    _, called = teardown(host)

    masked = {unit for role in ROLES.iterdir() for unit in put_by(role).masked}
    users = {user for role in ROLES.iterdir() for user in put_by(role).users}
    assert {f"systemctl unmask --quiet {unit}" for unit in masked} <= set(called)
    assert {f"userdel {user}" for user in users} <= set(called)
    assert len(masked) == 6
    assert "nft delete table inet okome" in called
    assert "pg_dropcluster --stop 15 okome" in called
    assert "systemctl disable --quiet --now postgresql@15-okome.service" in called
    assert "systemctl disable --quiet --now okome-firewall.service" in called


def test_a_firewall_that_is_just_tried_is_not_put_back(host: Path) -> None:
    _, called = teardown(host)

    assert called[0] == "systemctl stop okome-firewall-back.timer"


def test_a_second_time_there_is_nothing_to_say(host: Path) -> None:
    teardown(host)
    for unit in (host / "etc/systemd/system").iterdir():
        unit.unlink()  # systemctl would have
    (host.parent / "programs/nft").write_text("#!/bin/sh\nexit 1\n")

    assert teardown(host)[0] == ""


def test_what_is_of_others_stays(host: Path) -> None:
    teardown(host)
    others = {
        "etc/haproxy/haproxy.cfg": "listen mine\n",
        "etc/systemd/system/okome-mine.service": "[Service]\n",
        "etc/postgresql-common/createcluster.conf": "create_main_cluster = false\n",
        "etc/postgresql/15/main/postgresql.conf": "",
    }
    for name, text in others.items():
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text(text)
    mask = host / "etc/systemd/system/prometheus.service"

    _, called = teardown(host)

    assert all((host / name).read_text() == text for name, text in others.items())
    # Without OKOME there the mask is somebody else's.
    assert mask.is_symlink()
    assert not any("unmask" in call for call in called)
