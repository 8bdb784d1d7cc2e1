"""Whether an address can be listened on, and who has it when it cannot."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


def taken(listens: Iterable[str]) -> list[str]:
    """One line for each `address:port` that cannot be listened on."""
    lines = []
    for listen in listens:
        address, _, port = listen.rpartition(":")
        error = _try(address, int(port))
        if error is None:
            continue
        if error.errno == errno.EADDRINUSE:
            lines.append(
                f"{listen} is in use by {_owner(address, int(port))}; stop it and try again"
            )
        else:
            lines.append(f"{listen} cannot be listened on: {error.strerror}")
    return lines


def _try(address: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            # Binding alone succeeds beside another socket that reuses the address too.
            probe.listen(1)
        except OSError as error:
            return error
    return None


def _owner(address: str, port: int) -> str:
    """`name (pid N)` of the process that has `address:port`, as far as we may see it."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(address, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_link(entry) in wanted for entry in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{name} (pid {process.name})"
        except OSError:  # gone meanwhile, or another user's
            continue
    return "a process of another user"


def _link(entry: Path) -> str:
    """Where a descriptor leads; nowhere once it is closed, as the listing's own is."""
    try:
        return os.readlink(entry)
    except FileNotFoundError:
        return ""


def _listening_inodes(address: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on the address itself, or on all of them."""
    # The kernel prints an IPv4 address as one number in the byte order of the machine.
    packed = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    wanted = {f"{packed:08X}:{port:04X}", f"{0:08X}:{port:04X}", f"{0:032X}:{port:04X}"}
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, rows):
            if fields[3] == _LISTEN and fields[1] in wanted:
                inodes.add(fields[9])
    return inodes
