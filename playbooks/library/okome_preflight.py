#!/usr/bin/python3
"""Ansible module: is this host fit for its part? Changes nothing, needs only Python."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

DOCUMENTATION = """
module: okome_preflight
short_description: Looks for what would keep a deployment from succeeding
description: Returns what is wrong with the host and how to mend it. Changes nothing.
options:
  address: {description: That its services are to listen on; empty for none, type: str}
  ports: {description: TCP ports that must be free or ours, type: list, elements: int}
  memory_mb: {description: Least memory of the machine, type: int}
  disk_mb: {description: Least free space below /opt and /var, type: int}
  vip: {description: "Of the ingress, where it is one; empty elsewhere", type: str}
  ingress: {description: Addresses of every ingress, type: list, elements: str}
  firewall: {description: Is it to have one of ours?, type: bool}
  began: {description: The clock of the machine that asks, given back, type: float}
author: [OKOME]
"""
EXAMPLES = """
- name: Look
  okome_preflight: {ports: [8100], memory_mb: 1000, disk_mb: 1000}
"""
RETURN = """
findings: {description: "Each what is wrong, and how to mend it", returned: always, type: list}
time: {description: The host's clock in seconds since 1970, returned: always, type: float}
"""

# Ansible puts them here, see okome_files.
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
SYSTEMS = {("debian", "12"), ("ubuntu", "24.04")}
PYTHON = (3, 11)
OURS = ("okome-", "haproxy.service")
LISTENING = "0A"
# States of a package in which nothing of it is half done.
WHOLE = ("installed", "config-files", "not-installed", "triggers-pending", "triggers-awaited")
HALF_NAMED = 3
# Ethernet's and ARP's heads; who asks or answers, and who is meant, each by MAC and address.
ARP = struct.Struct("!6s6sH HHBBH 6s4s 6s4s")
ARP_KIND, ARP_HEAD = 0x0806, (1, 0x0800, 6, 4)
ARP_ASKS, ARP_ROUND_S = 3, 0.3
SIOCGIFADDR = 0x8915


def system_fault(release: str) -> tuple[str, str] | None:
    """By the text of /etc/os-release."""
    lines = (line.partition("=") for line in release.splitlines())
    said = {name: value.strip("\"'") for name, _, value in lines}
    if (said.get("ID"), said.get("VERSION_ID")) in SYSTEMS:
        return None
    name = said.get("PRETTY_NAME", "an unknown system")
    return f"it runs {name}", "install Debian 12 or Ubuntu 24.04"


def memory_fault(meminfo: str, least_mb: int) -> tuple[str, str] | None:
    """By the text of /proc/meminfo."""
    total = next(int(line.split()[1]) for line in meminfo.splitlines() if "MemTotal" in line)
    if total >= least_mb * 1024:
        return None
    return f"it has {total // 1024} MB of memory", f"{least_mb} MB are needed for its role"


def address_faults(address: str) -> list[tuple[str, str]]:
    """One where no service of the host could listen on it; none for an empty one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if address:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((address, 0))
    except OSError as error:
        remedy = "give it that address itself, not one before it (NAT), or mend ansible_host"
        return [(f"it has not the address {address} ({error.strerror})", remedy)]
    return []


def arp_question(mac: bytes, address: str) -> bytes:
    """The frame that asks who has `address`, in nobody's name, so that nobody's table of
    addresses changes (RFC 5227)."""
    everybody, nobody = b"\xff" * 6, bytes(4)
    asked = (mac, nobody, bytes(6), socket.inet_aton(address))
    return ARP.pack(everybody, mac, ARP_KIND, *ARP_HEAD, 1, *asked)


def arp_claim(frame: bytes) -> tuple[str, str] | None:
    """(address, MAC) of who says in the frame that it has an address."""
    if len(frame) < ARP.size:
        return None
    _, _, kind, *head, _, mac, address, _, _ = ARP.unpack(frame[: ARP.size])
    if kind != ARP_KIND or tuple(head) != ARP_HEAD or not any(address):
        return None
    return socket.inet_ntoa(address), mac.hex(":")


def vip_faults(
    vip: str, ingress: list[str], claims: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """One for each machine that has the VIP and is none of the ingress; `claims`: who has which
    address by which MAC."""
    ours = {mac for address, mac in claims if address in ingress}
    others = sorted({mac for address, mac in claims if address == vip} - ours)
    remedy = "take it from that machine, or give the cluster another one (okome_vip)"
    return [
        (f"its VIP {vip} is in use at {mac}, which is no ingress of the inventory", remedy)
        for mac in others
    ]


def who_has(address: str, wanted: list[str]) -> list[tuple[str, str]]:
    """(address, MAC) of all that the network of `address` tells of them, and of this host."""
    found: set[tuple[str, str]] = set()
    interface = interface_of(address)
    if interface is None:
        return []
    kind = socket.htons(ARP_KIND)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, kind) as probe:
        probe.bind((interface, ARP_KIND))
        mac = probe.getsockname()[4]
        for _ in range(ARP_ASKS):
            for each in wanted:
                probe.send(arp_question(mac, each))
            end = time.monotonic() + ARP_ROUND_S
            while (left := end - time.monotonic()) > 0:
                probe.settimeout(left)
                try:
                    claim = arp_claim(probe.recv(ARP.size))
                except TimeoutError:
                    break
                found |= {claim} if claim else set()
    return [*found, (address, mac.hex(":"))]


def interface_of(address: str) -> str | None:
    """Which has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                said = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(said[20:24]) == address:
                return name
    return None


def ufw_faults(conf: str, installed: bool) -> list[tuple[str, str]]:
    """By the text of /etc/ufw/ufw.conf, which a package that was removed leaves behind."""
    said = dict(line.split("=", 1) for line in conf.splitlines() if "=" in line)
    if not installed or said.get("ENABLED", "").strip("\"' ").lower() != "yes":
        return []
    remedy = "ufw disable, or keep it instead of ours (okome_firewall: false) and let the rest in"
    return [("its own firewall (ufw) is on, which drops what OKOME's lets in", remedy)]


def package_faults(status: str) -> list[tuple[str, str]]:
    """By the text of /var/lib/dpkg/status: packages that are half installed, as a run leaves
    them that was broken off, so that no other can be installed."""
    half = []
    for block in status.split("\n\n"):
        said = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[:32])
        state = said.get("Status", "").split()
        if len(state) == 3 and (state[2] not in WHOLE or state[1] == "reinstreq"):
            half.append(said.get("Package", "?"))
    if not half:
        return []
    named = ", ".join(half[:HALF_NAMED]) + (" …" if len(half) > HALF_NAMED else "")
    return [
        (
            f"an installation of packages was broken off, or goes on still ({named})",
            "wait for it, or: dpkg --configure -a && apt-get install --fix-broken",
        )
    ]


def listening(table: str, ports: list[int]) -> dict[int, str]:
    """Port -> inode of a listening socket, by the text of /proc/net/tcp or tcp6."""
    found = {}
    for fields in map(str.split, table.splitlines()[1:]):
        port = int(fields[1].rpartition(":")[2], 16)
        if fields[3] == LISTENING and port in ports:
            found[port] = fields[9]
    return found


def unit_of(cgroup: str) -> str:
    """The systemd unit of a process, by the text of its /proc/PID/cgroup."""
    names = [part for line in cgroup.splitlines() for part in line.split("/")]
    return next((name for name in reversed(names) if name.endswith(".service")), "no unit")


def port_faults(ports: list[int]) -> list[tuple[str, str]]:
    """One for each port that a process has which is not ours."""
    taken: dict[int, str] = {}
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        if path.exists():
            taken.update(listening(path.read_text(), ports))
    owners = _owners(set(taken.values())) if taken else {}
    faults = []
    for port, inode in sorted(taken.items()):
        unit = owners.get(inode, "a process of the machine's")
        if not unit.startswith(OURS):
            is_unit = unit.endswith(".service")
            remedy = f"stop it (systemctl disable --now {unit})" if is_unit else "stop that process"
            faults.append((f"port {port} is taken by {unit}", remedy))
    return faults


def _owners(inodes: set[str]) -> dict[str, str]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    owners = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for entry in (process / "fd").iterdir():
                inode = wanted.get(os.readlink(entry))
                if inode:
                    owners[inode] = unit_of((process / "cgroup").read_text())
        except OSError:  # it has ended meanwhile
            continue
    return owners


def disk_faults(least_mb: int) -> list[tuple[str, str]]:
    """One for each of the places that has too little room."""
    faults = []
    for place in ("/opt", "/var/lib"):
        free = shutil.disk_usage(place).free >> 20
        if free < least_mb:
            faults.append((f"{place} has {free} MB left", f"make room for {least_mb} MB"))
    return faults


def network_faults(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """What others in its network, or a firewall of its own, would spoil."""
    found = []
    vip, ingress = asked.get("vip", ""), asked.get("ingress", [])
    if vip and ":" not in vip:
        found += vip_faults(vip, ingress, who_has(asked["address"], [vip, *ingress]))
    conf = Path("/etc/ufw/ufw.conf")
    if asked.get("firewall") and conf.exists():
        found += ufw_faults(conf.read_text(), Path("/usr/sbin/ufw").exists())
    return found


def examine(asked: dict[str, Any]) -> list[str]:
    """Everything that is wrong, each with how to mend it."""
    found = [
        system_fault(Path("/etc/os-release").read_text()),
        memory_fault(Path("/proc/meminfo").read_text(), asked["memory_mb"]),
        *disk_faults(asked["disk_mb"]),
        *address_faults(asked["address"]),
        *port_faults(asked["ports"]),
        *network_faults(asked),
        *package_faults(Path("/var/lib/dpkg/status").read_text(encoding="utf-8")),
    ]
    if sys.version_info < PYTHON:
        running = ".".join(map(str, sys.version_info[:3]))
        found.append((f"its Python is {running}", "Python 3.11 or later is needed"))
    return ["; ".join(fault) for fault in found if fault]


def main() -> None:
    """As Ansible calls it."""
    asked = json.loads(ARGUMENTS)
    findings = examine(asked)
    clocks = {"time": time.time(), "began": float(asked["began"])}
    print(json.dumps({"changed": False, "findings": findings, **clocks}))


if __name__ == "__main__":
    main()
