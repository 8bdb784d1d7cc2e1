"""What is wrong with a file that an operator wrote, said so that it can be mended. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec

_PLAIN: Final = re.compile(r"[\w:@-]+")


class Fault(msgspec.Struct, frozen=True, order=True):
    """One fault: the line (from 1), the path of the member, empty for the whole file, and what
    was expected there. Says no text of the file but names."""

    line: int
    path: str
    message: str

    def told(self, file: str) -> str:
        """`FILE:LINE: PATH: MESSAGE`."""
        place = f"{self.path}: " if self.path else ""
        return f"{file}:{self.line}: {place}{self.message}"


class FaultsError(Exception):
    """A file cannot be used; `faults` are in order of their lines, at least one."""

    def __init__(self, file: str, faults: Sequence[Fault]) -> None:
        self.file = file
        self.faults = sorted(faults)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line for each fault."""
        return [fault.told(self.file) for fault in self.faults]


def below(path: str, *steps: str | int) -> str:
    """The path of a member: `models.chat.engines[1]`; names that are no plain words in quotes."""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step, ensure_ascii=False)}]"
    return path


def one_of(names: Sequence[str]) -> str:
    """Names for a message: `a, b, c`, a few of them where they are many."""
    shown = [name if len(name) <= 64 else f"{name[:63]}…" for name in names[:12]]
    return ", ".join(shown + ["…"] * (len(names) > len(shown))) or "none"
