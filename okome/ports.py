"""Whether an address can be listened on, and who has it when it cannot."""

from __future__ import annotations

import errno
import os
import socket
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
            lines.append(f"{listen} is in use by {_owner(int(port))}; stop it and try again")
        else:
            lines.append(f"{listen} cannot be listened on: {error.strerror}")
    return lines


def _try(address: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            # Binding alone succeeds beside another socket that reuses the address too.
            probe.listen(1)
        except OSError as error:
            return error
    return None


def _owner(port: int) -> str:
    """`name (pid N)` of a process that listens on `port`, as far as we may see it."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(entry) for entry in (process / "fd").iterdir()]
            if wanted.intersection(links):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{name} (pid {process.name})"
        except OSError:  # gone meanwhile, or another user's
            continue
    return "a process of another user"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
