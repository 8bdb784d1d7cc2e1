"""From when a figure is bad on a panel: CONTRACT.md's budgets per hop, docs/slo.md's promises."""

from __future__ import annotations

from typing import Final

from observability.boards.model import Levels

TTFT: Final = Levels(1.0, 2.0)
GAP_P99: Final = Levels(0.2, 0.5)
JITTER: Final = Levels(0.1, 0.25)
# Stalls (gaps above 500 ms) in 1,000 tokens.
STALLS: Final = Levels(1.0, 2.0)
SUCCESS: Final = Levels(0.999, 0.995)
# The budgets of the hops, and twice as much.
ACCEPT: Final = Levels(0.1, 0.2)
GRANT: Final = Levels(0.05, 0.1)
HOLD: Final = Levels(0.1, 0.11)
LOG: Final = Levels(0.03, 0.3)
OVERHEAD: Final = Levels(0.02, 0.1)
ENGINE_TTFT: Final = Levels(1.0, 2.0)
QUEUE: Final = Levels(1.0, 20.0)
LOOP: Final = Levels(0.025, 0.1)
