"""`okome up --detach`: the supervisor goes to the background once it says that it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_detached(arguments: Sequence[str]) -> int:
    """Runs `okome ARGUMENTS` in a session of its own; returns 0 once it is ready.

    Until then it prints here. When it ends before, its exit status is returned, and
    Ctrl-C ends it.
    """
    read, write = os.pipe()
    command = [sys.executable, "-P", "-m", "okome", *arguments, "--ready-fd", str(write)]
    process = subprocess.Popen(
        command, pass_fds=(write,), stdin=subprocess.DEVNULL, start_new_session=True
    )
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            if pipe.read(1):
                return 0
        return process.wait() or 1
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 1


def tell_ready(descriptor: int, output: Path) -> None:
    """Lets the waiting command go, and the terminal with it: further output goes to `output`."""
    sys.stdout.flush()
    sys.stderr.flush()
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (1, 2):
        os.dup2(sink, standard)
    os.close(sink)
    os.write(descriptor, b"1")
    os.close(descriptor)
