"""Whether brokers can use the native part here: asked of a process of their kind."""

from __future__ import annotations

import subprocess
import sys
from typing import Final, Literal

_LOOK: Final = "import okome_native; from stream_broker.native import Native; Native(okome_native)"
_ABSENT: Final = "ModuleNotFoundError: No module named 'okome_native'"
_TIMEOUT_S: Final = 60.0
_MEND: Final = "scripts/install builds it anew"


def native_state() -> tuple[Literal["ok", "lacking", "bad"], str]:
    """As a finding of `okome doctor`."""
    # A module of another Python's may also end the process that loads it.
    command = [sys.executable, "-P", "-c", _LOOK]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "lacking", f"okome_native could not be looked at within {_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return "ok", "okome_native is installed"
    if not done.stderr.strip():
        return "bad", (
            f"okome_native ends brokers as they start, with status {done.returncode} ({_MEND}; "
            "until then: OKOME_NATIVE=off)"
        )
    said = done.stderr.strip().splitlines()[-1]
    if said == _ABSENT:
        return "lacking", (
            "without the native part: a token takes a broker about twice the CPU time "
            "(scripts/install builds it where a C compiler and Python's headers are: "
            "apt-get install gcc python3-dev)"
        )
    return "lacking", f"okome_native does not fit, and is not used: {said} ({_MEND})"
