"""One supervisor per state directory, for as long as it lives and not a moment longer."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Takes the lock for this process and notes its pid; None when another one holds it.

    The kernel gives it back when the process ends, however it ends. Children do not inherit
    it: Python opens files with O_CLOEXEC.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def holder(path: Path) -> str:
    """The pid that the holder has noted."""
    return path.read_text(encoding="ascii").strip() or "unknown"


def wait_free(path: Path, timeout: float) -> bool:
    """Waits until nobody holds the lock. False when `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while path.exists():
        descriptor = try_lock(path)
        if descriptor is not None:
            os.close(descriptor)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
