"""Runs a Python module by a clock that begins elsewhere and goes faster.

    python -m tests.support.moved_clock BEGAN ORIGIN SPEED PYTHON -m MODULE [ARGUMENT …]

At Unix time BEGAN it is ORIGIN there, and SPEED seconds pass in each: also over restarts.
Only what asks `time.time` is moved, not what waits.
"""

from __future__ import annotations

import runpy
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class MovedClock:
    """Unix seconds of the moved clock."""

    began: float
    origin: float
    speed: float

    def at(self, moment: float) -> float:
        """What it shows at Unix time `moment`."""
        return self.origin + (moment - self.began) * self.speed

    def before(self) -> tuple[str, ...]:
        """What to put before a command so that it goes by this clock."""
        numbers = (repr(self.began), repr(self.origin), repr(self.speed))
        return (sys.executable, "-m", "tests.support.moved_clock", *numbers)


def main() -> None:
    """Runs the module."""
    clock = MovedClock(*map(float, sys.argv[1:4]))
    real = time.time
    time.time = lambda: clock.at(real())
    module = sys.argv[sys.argv.index("-m") + 1]
    sys.argv = sys.argv[sys.argv.index("-m") + 1 :]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
