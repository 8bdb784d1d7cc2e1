"""From when a figure is bad on a panel: what `observability/slo.py` promises or budgets is bad
or, for a hop, worth a look; what lies well before a promise is worth a look."""

from __future__ import annotations

from typing import Final

from observability import slo
from observability.boards.model import Levels

TTFT: Final = Levels(slo.TTFT_S / 2, slo.TTFT_S)
ENGINE_TTFT: Final = Levels(slo.ENGINE_TTFT_S / 2, slo.ENGINE_TTFT_S)
GAP_P99: Final = Levels(0.2, slo.STALL_S)
JITTER: Final = Levels(0.1, slo.ENGINE_JITTER_S)
# Stalls (gaps above 500 ms) in 1,000 tokens.
STALLS: Final = Levels(slo.STALLS_PER_1000 / 2, slo.STALLS_PER_1000)
SUCCESS: Final = Levels(0.999, next(one.target for one in slo.OBJECTIVES if one.name == "streams"))
# The budgets of the hops, and well beyond them.
ACCEPT: Final = Levels(slo.ACCEPT_S, 2 * slo.ACCEPT_S)
GRANT: Final = Levels(slo.DECISION_S, 2 * slo.DECISION_S)
CACHE: Final = Levels(slo.CACHE_S, 5 * slo.CACHE_S)
HOLD: Final = Levels(slo.HOLD_S, slo.HOLD_SEEN_S)
LOG: Final = Levels(slo.LOG_FLUSH_S, 10 * slo.LOG_FLUSH_S)
OVERHEAD: Final = Levels(slo.OVERHEAD_S, 3 * slo.OVERHEAD_S)
LOOP: Final = Levels(slo.LOOP_LAG_S / 4, slo.LOOP_LAG_S)
QUEUE: Final = Levels(1.0, slo.QUEUED)
PILE: Final = Levels(500, 5_000)
POLICY_AGE: Final = Levels(slo.POLICY_AGE_S, 240)
SPOOL: Final = Levels(slo.SPOOLED / 2, slo.SPOOLED)
DISK_LEFT: Final = Levels(2 * slo.DISK_FREE, slo.DISK_FREE)
CERTIFICATE: Final = Levels(slo.CERTIFICATE_LEFT_S, slo.CERTIFICATE_LEAST_S)
CLOCK: Final = Levels(slo.CLOCK_OFF_S / 10, slo.CLOCK_OFF_S)
