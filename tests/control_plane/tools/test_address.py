from __future__ import annotations

import pytest

from control_plane.tools.address import check_allowed, chosen

OUTSIDE = "93.184.216.34"
INSIDE = [
    "127.0.0.1",
    "127.86.0.25",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.86.30",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",  # noqa: S104  # to be refused
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "::7f00:1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_refused_unless_it_is_listed(address: str) -> None:
    assert chosen("tool.test", [address], []) is None
    assert chosen("tool.test", [address], ["other.test", "203.0.113.0/24"]) is None
    assert chosen("tool.test", [address], ["tool.test"]) == address


@pytest.mark.parametrize("address", [OUTSIDE, "2606:2800:220:1:248:1893:25c8:1946"])
def test_what_is_outside_is_allowed(address: str) -> None:
    assert chosen("tool.test", [address], []) == address


def test_a_name_that_leads_inside_and_outside_is_refused() -> None:
    assert chosen("tool.test", [OUTSIDE, "127.0.0.1"], []) is None


def test_a_name_that_leads_nowhere_is_refused() -> None:
    assert chosen("tool.test", [], ["tool.test"]) is None


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ("192.168.86.30", True),
        ("192.168.86.0/24", True),
        ("TOOL.test.", True),
        ("192.168.87.0/24", False),
        ("ool.test", False),
        ("fd00::/8", False),
    ],
)
def test_hosts_addresses_and_networks_can_be_listed(entry: str, *, fits: bool) -> None:
    assert (chosen("tool.test", ["192.168.86.30"], [entry]) is not None) is fits


@pytest.mark.parametrize("entry", ["", "a b", "http://x", "user@host", "10.0.0.0/99", "[::1]"])
def test_what_is_no_host_cannot_be_listed(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_allowed([entry])
