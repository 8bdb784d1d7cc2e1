"""How long a process that ended by itself waits before it is started again."""

from __future__ import annotations

# Seconds by the number of ends in a row without ever being ready. The first is at once: a
# killed broker must be back within 2 s. The last keeps a crash loop from eating a core.
DELAYS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)


def delay(failures: int) -> float:
    """Seconds to wait after `failures` ends in a row without being ready in between."""
    return DELAYS[min(failures, len(DELAYS) - 1)]
