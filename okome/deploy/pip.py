"""pip of this machine's Python."""

from __future__ import annotations

import os
import subprocess
import sys

from okome.errors import OkomeError


def run_pip(verb: str, *arguments: str, **variables: str) -> None:
    """Runs it, with `variables` in its environment. Raises OkomeError with its last error."""
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = said[-1] if said else f"exit status {done.returncode}"
        raise OkomeError(f"pip {verb} failed: {reason}; is there a network or a mirror?")
