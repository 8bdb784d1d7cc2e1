"""A process that makes room for its files has it, within its limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
from stream_broker.files import make_room

soft, hard, files = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
make_room(files)
lines = open("/proc/self/status").read().splitlines()
(table,) = (line.split()[1] for line in lines if line.startswith("FDSize:"))
now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
print(now, table, len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "files", "allowed", "at_least"),
    [
        (256, 4096, 3000, 3000, 3000),
        (4096, 4096, 3000, 4096, 3000),
        (256, 2000, 3000, 2000, 2000),
    ],
)
def test_the_table_of_files_is_as_large_as_it_will_be(
    soft: int, hard: int, files: int, allowed: int, at_least: int
) -> None:
    words = [str(number) for number in (soft, hard, files)]
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], check=True, capture_output=True, text=True
    )
    now, table, is_open = map(int, told.stdout.split())
    assert now == allowed
    assert table >= at_least
    assert is_open < 20
