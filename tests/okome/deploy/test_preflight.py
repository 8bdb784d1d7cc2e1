"""What the playbook's first look finds, by the texts that a host gives."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

MODULE = Path(__file__).parents[3] / "playbooks" / "library" / "okome_preflight.py"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1FA4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 0100007F:1FA4 0100007F:CAFE 01 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    spec = importlib.util.spec_from_file_location("okome_preflight", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("release", "fit"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n', True),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', True),
        ('ID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n', False),
    ],
)
def test_other_systems_are_refused_by_name(preflight: ModuleType, release: str, fit: bool) -> None:
    fault = preflight.system_fault(release)

    assert (fault is None) is fit
    assert fit or "Ubuntu 22.04.5 LTS" in fault[0]


def test_too_little_memory_is_told_with_both_figures(preflight: ModuleType) -> None:
    text = "MemTotal:        1024000 kB\nMemFree: 1 kB\n"

    assert preflight.memory_fault(text, 1000) is None
    assert preflight.memory_fault(text, 1900) == (
        "it has 1000 MB of memory",
        "1900 MB are needed for its role",
    )


def test_listening_sockets_are_found_and_connections_are_not(preflight: ModuleType) -> None:
    assert preflight.listening(TCP, [8100, 443]) == {8100: "4711"}


def test_a_process_is_named_by_its_unit(preflight: ModuleType) -> None:
    mixed = "2:memory:/system.slice\n0::/system.slice/okome-broker-0.service\n"

    assert preflight.unit_of(mixed) == "okome-broker-0.service"
    assert preflight.unit_of("0::/user.slice/session-1.scope\n") == "no unit"


def test_an_address_that_the_host_has_not_is_told(preflight: ModuleType) -> None:
    assert preflight.address_faults("") == []
    assert preflight.address_faults("127.0.0.1") == []
    # Of the documents' own network, which nobody has.
    ((found, remedy),) = preflight.address_faults("192.0.2.1")
    assert found.startswith("it has not the address 192.0.2.1")
    assert "ansible_host" in remedy


def status(**packages: str) -> str:
    """As dpkg keeps it."""
    return "".join(
        f"Package: {name}\nStatus: {state}\nDescription: says\n more: of it\n\n"
        for name, state in packages.items()
    )


def test_packages_that_an_earlier_run_left_half_way_are_named(preflight: ModuleType) -> None:
    whole = {"a": "install ok installed", "b": "deinstall ok config-files",
             "man-db": "install ok triggers-pending"}  # fmt: skip
    half = {"redis": "install ok half-configured", "nginx": "install reinstreq installed"}

    assert preflight.package_faults(status(**whole)) == []
    ((found, remedy),) = preflight.package_faults(status(**whole, **half))
    assert found == "an installation of packages was broken off, or goes on still (redis, nginx)"
    assert "dpkg --configure -a" in remedy
    many = {f"p{at}": "install ok unpacked" for at in range(5)}
    assert "(p0, p1, p2 …)" in preflight.package_faults(status(**many))[0][0]


_ASK = (
    "import json, runpy, sys; "
    "found = runpy.run_path(sys.argv[1])['network_faults'](json.loads(sys.argv[2])); "
    "print(json.dumps(found))"
)
VIP, FIRST, SECOND = "192.168.86.18", "192.168.86.41", "192.168.86.42"
FIRST_MAC, SECOND_MAC, OTHER_MAC = "02:00:00:00:00:41", "02:00:00:00:00:42", "02:00:00:00:00:99"


def test_an_address_is_asked_for_in_nobodys_name(preflight: ModuleType) -> None:
    frame = preflight.arp_question(bytes.fromhex("020000000041"), VIP)

    # RFC 5227: to everybody, and with 0.0.0.0 as the sender's address, so that no table changes.
    assert frame.hex(" ") == (
        "ff ff ff ff ff ff 02 00 00 00 00 41 08 06 00 01 08 00 06 04 00 01 "
        "02 00 00 00 00 41 00 00 00 00 00 00 00 00 00 00 c0 a8 56 12"
    )
    assert preflight.arp_claim(frame) is None


def test_who_answers_for_an_address_claims_it(preflight: ModuleType) -> None:
    question = preflight.arp_question(bytes.fromhex("020000000041"), VIP)
    sender = bytes.fromhex("020000000099") + bytes([192, 168, 86, 18])
    answer = question[:20] + b"\x00\x02" + sender + question[22:32] + bytes(18)

    assert preflight.arp_claim(answer) == (VIP, OTHER_MAC)
    assert preflight.arp_claim(answer[:41]) is None
    assert preflight.arp_claim(question[:12] + b"\x08\x00" + question[14:]) is None


def test_a_vip_that_somebody_else_has_is_told(preflight: ModuleType) -> None:
    pair = [(FIRST, FIRST_MAC), (SECOND, SECOND_MAC)]

    assert preflight.vip_faults(VIP, [FIRST, SECOND], pair) == []
    # As it is while the cluster runs.
    held = [*pair, (VIP, SECOND_MAC)]
    assert preflight.vip_faults(VIP, [FIRST, SECOND], held) == []
    ((found, remedy),) = preflight.vip_faults(VIP, [FIRST, SECOND], [*held, (VIP, OTHER_MAC)])
    assert found == f"its VIP {VIP} is in use at {OTHER_MAC}, which is no ingress of the inventory"
    assert "okome_vip" in remedy


def test_who_has_an_address_is_heard_of_in_a_real_network(tmp_path: Path) -> None:
    # One end of the cable is this host's, the other one the stranger's, in a network of its own.
    alone = ["unshare", "--map-root-user", "--net"]
    ip = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin")
    if ip is None or subprocess.run([*alone, "true"], check=False).returncode != 0:
        pytest.skip("needs ip and a network namespace")
    asked = {"vip": "192.0.2.18", "ingress": ["192.0.2.2"], "address": "192.0.2.1"}
    script = tmp_path / "network"
    script.write_text(
        "set -e\n"
        f"{ip} link add here type veth peer name there address {OTHER_MAC}\n"
        f"{ip} address add 192.0.2.1/24 dev here\n"
        f"{ip} address add 192.0.2.18/24 dev there\n"
        f"{ip} link set here up\n{ip} link set there up\n"
        f"exec {sys.executable} -c \"{_ASK}\" {MODULE} '{json.dumps(asked)}'\n",
        encoding="utf-8",
    )

    done = subprocess.run([*alone, "sh", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ((found, _),) = json.loads(done.stdout)
    assert found.startswith(f"its VIP 192.0.2.18 is in use at {OTHER_MAC}")


@pytest.mark.parametrize(
    ("conf", "installed", "active"),
    [
        ("# comment\nENABLED=yes\nLOGLEVEL=low\n", True, True),
        ('ENABLED="YES"\n', True, True),
        ("ENABLED=no\n", True, False),
        ("#ENABLED=yes\n", True, False),
        # What is left of it once its package is removed.
        ("ENABLED=yes\n", False, False),
    ],
)
def test_a_firewall_of_the_systems_own_is_told(
    preflight: ModuleType, conf: str, installed: bool, active: bool
) -> None:
    found = preflight.ufw_faults(conf, installed)

    assert bool(found) is active
    assert all("ufw disable" in remedy for _, remedy in found)


def test_what_is_wrong_is_told_with_its_remedy(
    preflight: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "system_fault", lambda _: ("it runs CP/M", "install Debian 12"))

    found = preflight.examine({"ports": [], "memory_mb": 0, "disk_mb": 1 << 40, "address": ""})

    assert found[0] == "it runs CP/M; install Debian 12"
    assert [line.split(" has ")[0] for line in found[1:]] == ["/opt", "/var/lib"]
