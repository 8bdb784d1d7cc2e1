"""Programs of the machine, started and waited for."""

from __future__ import annotations

import subprocess


class LabError(Exception):
    """The lab cannot do it; the message is one line for a person."""


def run(*command: str, timeout: float = 600) -> str:
    """What the command printed. Raises LabError with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise LabError(f"`{' '.join(command[:6])}` failed ({done.returncode}): {said}")
    return done.stdout


def succeeds(*command: str, timeout: float = 60) -> bool:
    """Does the command exit with 0 in time?"""
    try:
        return (
            subprocess.run(command, capture_output=True, check=False, timeout=timeout).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False
