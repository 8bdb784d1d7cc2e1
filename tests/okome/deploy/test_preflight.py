"""What the playbook's first look finds, by the texts that a host gives."""

from __future__ import annotations

import importlib.util
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


def test_what_is_wrong_is_told_with_its_remedy(
    preflight: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "system_fault", lambda _: ("it runs CP/M", "install Debian 12"))

    found = preflight.examine([], 0, 1 << 40)

    assert found[0] == "it runs CP/M; install Debian 12"
    assert [line.split(" has ")[0] for line in found[1:]] == ["/opt", "/var/lib"]
