"""A process's log on disk: bounded in size, and remembering its last line."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

DEFAULT_LIMIT = 4 << 20


class BoundedLog:
    """Appends bytes to `path`; at `limit` the file becomes `path.1` and a new one begins.

    So a process never takes more than twice `limit` of the disk.
    """

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT) -> None:
        self._path = path
        self._limit = limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._tail = b""

    def __enter__(self) -> BoundedLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def last_line(self) -> str:
        """The last line that says something, cut to 300 characters."""
        lines = [line for line in self._tail.splitlines() if line.strip()]
        return lines[-1].decode("utf-8", "replace").strip()[:300] if lines else ""

    def write(self, data: bytes) -> None:
        """Appends `data`. A full disk is no reason to stop the process that logs."""
        self._tail = (self._tail + data)[-4096:]
        try:
            if self._size + len(data) > self._limit and self._size:
                self._rotate()
            self._file.write(data)
            self._size += len(data)
        except OSError as error:
            print(f"{self._path}: cannot be written: {error.strerror}", file=sys.stderr)

    def forget(self) -> None:
        """Starts a new life of the process: lines of the last one are no longer its last."""
        self._tail = b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0


def tail(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log, over the rotation; none when there is no log."""
    lines: deque[str] = deque(maxlen=count)
    for part in (path.with_name(path.name + ".1"), path):
        if part.exists():
            with part.open(encoding="utf-8", errors="replace") as file:
                lines.extend(line.rstrip("\n") for line in file)
    return list(lines)


class Follower:
    """Reads what is appended to a log from now on, also over its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._position = 0
        if path.exists():
            found = path.stat()
            self._inode, self._position = found.st_ino, found.st_size

    def new_lines(self) -> Iterator[str]:
        """Whole lines that were appended since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            inode = self._path.stat().st_ino
            if inode != self._inode:
                self._inode, self._position = inode, 0
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                yield line.decode("utf-8", "replace").rstrip("\n")
