"""Checks a policy file the way the control plane will read it: in a process of its kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from okome.errors import OkomeError

_TIMEOUT_S: Final = 60.0


def check_policy(file: Path, inventory: Path) -> dict[str, Any]:
    """`{file, inventory, version, faults: [{line, path, message}]}`. Raises OkomeError."""
    command = [sys.executable, "-P", "-m", "control_plane.check_policy"]
    command += ["--inventory", str(inventory), "--", str(file)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OkomeError(f"{file} could not be checked within {_TIMEOUT_S:g} s") from error
    if done.returncode not in (0, 1) or not done.stdout:
        raise OkomeError((done.stderr.strip() or "the check has failed").splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def fault_lines(checked: dict[str, Any]) -> list[str]:
    """`FILE:LINE: PATH: MESSAGE` of each fault."""
    return [
        ": ".join(filter(None, (f"{checked['file']}:{f['line']}", f["path"], f["message"])))
        for f in checked["faults"]
    ]
