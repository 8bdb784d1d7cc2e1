"""The units as systemd reads them, and how much it thinks that each could do to a host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.okome.deploy.putting import PLAYBOOKS, ROLES

jinja2 = pytest.importorskip("jinja2", reason="comes with Ansible: scripts/install --test")
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)
UNITS = sorted(ROLES.rglob("templates/*.service.j2"))
# As `systemd-analyze security` says it: 10 is as unsafe as can be.
MOST = 3.0
SAID = {
    "ansible_host": "192.168.86.43",
    "item": 0,
    "okome_release_dir": "/opt/okome/releases/1",
    "okome_database": "postgresql",
    "okome_policy": "",
    "grafana_place": "/opt/okome/artifacts/grafana-1",
    "alloy_program": "/opt/okome/artifacts/alloy-1/alloy",
    "loki_program": "/opt/okome/artifacts/loki-1/loki",
    "broker_drain_s": 600,
}


def rendered(unit: Path) -> str:
    """As Ansible renders it: an included file loses its last newline there."""
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PLAYBOOKS / "templates"),
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        autoescape=False,
    )
    return str(environment.from_string(unit.read_text("utf-8")).render(SAID))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_reads_the_unit_and_finds_little_that_it_may_do(unit: Path, tmp_path: Path) -> None:
    file = tmp_path / unit.stem
    file.write_text(rendered(unit), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("needs systemd 250 or later")
    # It names every line that it cannot read.
    assert done.stderr == ""
    level = re.search(r"Overall exposure level .*: ([\d.]+) ", done.stdout)
    assert level
    assert float(level[1]) <= MOST


def test_every_unit_may_open_enough_files() -> None:
    for unit in UNITS:
        assert re.search(r"^LimitNOFILE=65535$", rendered(unit), re.MULTILINE), unit.name
