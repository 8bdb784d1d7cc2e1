"""CPU time and memory of processes with all their children, as Linux tells them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def family(root: int) -> list[int]:
    """`root` and all processes below it that are there now."""
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """utime + stime of each root's family. A child that has ended counts with its parent."""
    return {name: sum(map(_cpu, family(root))) / _TICKS for name, root in roots.items()}


def memory(roots: Iterable[int], *, peak: bool = False) -> int:
    """Resident bytes of all families: now, or each process's own peak."""
    field = "VmHWM" if peak else "VmRSS"
    return sum(_status(pid, field) for root in roots for pid in family(root))


def _cpu(pid: int) -> int:
    """In ticks: each process's are cut to whole ones."""
    fields = _stat(pid)
    # proc(5): utime, stime, cutime, cstime are fields 14 to 17; `fields` begins at the third.
    return sum(map(int, fields[11:15])) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may itself hold spaces and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone meanwhile
        return []
    return text.rpartition(")")[2].split()


def _status(pid: int, field: str) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) << 10
    return 0
