"""Job ids: `nNNwK-` names the home worker, then 26 characters that sort by time.

The second part is a ULID: 48 bits of Unix milliseconds and 80 random bits in
Crockford's base 32.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_PATTERN = re.compile(r"n([0-9]{2})w([0-9])-[0-7][0-9A-HJKMNP-TV-Z]{25}")


class Home(NamedTuple):
    """The worker that a job was accepted by."""

    node: int
    worker: int

    def __str__(self) -> str:
        return f"n{self.node:02d}w{self.worker}"


def new_job_id(home: Home, now: float, entropy: bytes) -> str:
    """A fresh id. `now` in Unix seconds; `entropy`: 10 random bytes."""
    if len(entropy) != 10:
        raise ValueError("entropy must be 10 bytes")
    if not (0 <= home.node <= 99 and 0 <= home.worker <= 9):
        raise ValueError(f"no id can name the home {home}")
    number = int(now * 1000) << 80 | int.from_bytes(entropy)
    digits = "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
    return f"{home}-{digits}"


def home_of(job_id: str) -> Home | None:
    """The home that an id names, or None when it is not a job id."""
    match = _PATTERN.fullmatch(job_id)
    return Home(int(match[1]), int(match[2])) if match else None


def time_of(job_id: str) -> float | None:
    """The Unix time at which an id was made, or None when it is not a job id."""
    if home_of(job_id) is None:
        return None
    number = 0
    for digit in job_id.partition("-")[2]:
        number = number << 5 | _ALPHABET.index(digit)
    return (number >> 80) / 1000
