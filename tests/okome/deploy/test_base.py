"""What every host is set up with: kernel settings, the governor, and why there may be none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.okome.deploy.putting import PLAYBOOKS, ROLES

jinja2 = pytest.importorskip("jinja2", reason="comes with Ansible: scripts/install --test")
BASE = ROLES / "base"
EVERYWHERE = {
    "net.core.somaxconn": "4096",
    "net.core.netdev_max_backlog": "16384",
    "net.ipv4.tcp_tw_reuse": "1",
    "net.ipv4.tcp_fin_timeout": "15",
    "net.ipv4.tcp_max_syn_backlog": "8192",
    "vm.swappiness": "10",
    "fs.file-max": "2097152",
}


def sysctl(*groups: str, contained: bool = False) -> dict[str, str]:
    text = (BASE / "templates/sysctl.conf.j2").read_text("utf-8")
    made = jinja2.Template(text).render(group_names=groups, base_contained=contained)
    lines = [line for line in made.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" = ") for line in lines)


def test_every_host_has_the_settings_and_some_roles_have_more() -> None:
    assert sysctl("observability") == EVERYWHERE
    assert sysctl("ingress") == EVERYWHERE | {"net.ipv4.ip_nonlocal_bind": "1"}
    assert sysctl("stream") == EVERYWHERE | {"vm.overcommit_memory": "1"}
    assert sysctl("cache") == sysctl("stream")


def test_in_a_container_what_is_the_machines_is_only_tried() -> None:
    tried = sysctl("ingress", contained=True)

    assert set(tried) == {f"-{name}" for name in EVERYWHERE} | {"net.ipv4.ip_nonlocal_bind"}


@pytest.mark.parametrize(
    ("contained", "governors", "said"),
    [
        (False, {"rc": 0, "stdout": "performance powersave"}, ""),
        (False, {"rc": 0, "stdout": "schedutil powersave"}, "it has no `performance`"),
        (False, {"rc": 1, "stdout": ""}, "it has none"),
        (False, {"skipped": True}, "it has none"),
        (True, {"rc": 0, "stdout": "performance"}, "the processors are not this host's own"),
    ],
)
def test_a_governor_is_set_where_there_is_one(
    contained: bool, governors: dict[str, Any], said: str
) -> None:
    text = yaml.safe_load((BASE / "vars/main.yml").read_text("utf-8"))["base_no_governor"]

    told = jinja2.Template(text).render(base_contained=contained, base_governors=governors)

    assert told.strip() == said


def test_the_governor_of_every_processor_is_set(tmp_path: Path) -> None:
    unit = (BASE / "templates/okome-governor.service.j2").read_text("utf-8")
    found = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert found
    place = "/sys/devices/system/cpu/cpufreq"
    for number in range(3):
        (tmp_path / f"policy{number}").mkdir()
        (tmp_path / f"policy{number}/scaling_governor").write_text("powersave\n")

    subprocess.run(["sh", "-c", found[1].replace(place, str(tmp_path))], check=True)

    assert place in found[1]
    said = [path.read_text() for path in tmp_path.glob("policy*/scaling_governor")]
    assert said == ["performance\n"] * 3


def test_services_may_open_enough_files() -> None:
    hardening = (PLAYBOOKS / "templates/hardening.j2").read_text("utf-8")
    haproxy = (ROLES / "ingress/files/haproxy.service.conf").read_text("utf-8")
    assert "LimitNOFILE=65535" in hardening
    assert "LimitNOFILE=65535" in haproxy
