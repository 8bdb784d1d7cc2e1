"""What the supervisor tells: to the terminal while somebody waits, and always to its log."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from okome.logfile import BoundedLog


class Reporter:
    """Says one line at a time. `echo` is switched off when the terminal is given back."""

    def __init__(self, log: Path) -> None:
        self._log = BoundedLog(log, limit=1 << 20)
        self._began = time.monotonic()
        self.echo = True

    def __call__(self, line: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._log.write(f"{now} {line}\n".encode())
        if self.echo:
            print(f"[{time.monotonic() - self._began:5.1f} s] {line}", flush=True)
