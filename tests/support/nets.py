"""Which loopback addresses a test run may take, so that two runs on a machine, and the workers
of one run, never meet."""

from __future__ import annotations

import os

OCTETS = 250


def own_octet(offset: int = 0) -> int:
    """A third octet, 0 to 249, that no other worker of this run has at any `offset` below
    `OCTETS / workers`; other runs are told apart by their process numbers."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = OCTETS // workers
    # The workers' numbers follow each other's: divided, they begin at the same place.
    return place * share + (os.getpid() // workers + offset) % share
