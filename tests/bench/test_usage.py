"""CPU time and memory are those of a process and all below it."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.usage import cpu_seconds, family, memory

# A shell-less parent and child; the child burns 0.2 s, says so, and both wait to be ended. Some
# ticks are lost: of each process, what it spent in user and system mode is cut to whole ones.
BURN = "t=__import__('time');\nwhile t.process_time()<0.2: pass\nprint('x',flush=True);input()"
PARENT = f"import subprocess,sys;subprocess.run([sys.executable,'-c',{BURN!r}])"


def test_a_family_is_counted_with_its_children() -> None:
    argv = (sys.executable, "-c", PARENT)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(family(process.pid)) == 2
        assert cpu_seconds({"both": process.pid})["both"] >= 0.1
        assert memory([process.pid]) > memory([]) == 0
        process.communicate(b"\n")


def test_a_process_that_has_gone_costs_nothing() -> None:
    gone = subprocess.run(("true",), check=True)
    assert gone.returncode == 0
    nobody = 1 << 22
    assert memory([nobody]) == 0
    assert cpu_seconds({"nobody": nobody}) == {"nobody": 0.0}
    assert memory([os.getpid()], peak=True) >= memory([os.getpid()])
