"""What people are promised and from when somebody is told: every threshold is here.

docs/slo.md says what they mean. Times in seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Fires for ever. Whoever gets it no more knows that nobody here would be told of anything.
WATCHDOG: Final = "Watchdog"
RUNBOOK: Final = "docs/runbook.md"
# The label by which a Prometheus knows the address of its page with the runbook; it leaves
# again before an alert is sent.
RUNBOOK_LABEL: Final = "runbook"


@dataclass(frozen=True, slots=True)
class Objective:
    """Of all that counts, so much must be good. `bad` and `all_` are rates (PromQL).

    `least`: events within the last hour from which a ratio says anything.
    """

    name: str
    target: float
    bad: str
    all_: str
    alert: str
    summary: str
    least: int = 20

    @property
    def budget(self) -> float:
        """The part that may be bad."""
        return 1 - self.target


@dataclass(frozen=True, slots=True)
class Burn:
    """The budget of 30 days is used up `factor` times as fast as it lasts, seen over two
    windows: the long one says that it matters, the short one that it still goes on."""

    long: str
    short: str
    factor: float
    severity: str


# Of the Google SRE workbook, chapter 5: 2 % of the budget in an hour, 5 % in six, 10 % in three
# days. Its fourth, 10 % in one day, is told with the third.
BURNS: Final = (
    Burn("1h", "5m", 14.4, "page"),
    Burn("6h", "30m", 6, "page"),
    Burn("1d", "2h", 3, "ticket"),
    Burn("3d", "6h", 1, "ticket"),
)
# A first token is soon up to here, and 95 of 100 are (a bound of the histogram's buckets).
TTFT_S: Final = 2.0
# A gap longer than this is a stall (a bound of the histogram's buckets; `STALL_S` of brokers).
STALL_S: Final = 0.5
# Stalls of 1,000 tokens that people may see.
STALLS_PER_1000: Final = 2.0

_B: Final = "okome_broker_"
# Failures that are the caller's.
_THEIRS: Final = 'code!="context_too_long"'
_OURS_5XX: Final = "no_engine|overloaded|control_plane_unavailable|log_unavailable|internal"


def _beyond(histogram: str, bound: float) -> str:
    """The rate of what was longer than a bound of the buckets."""
    return (
        f"sum(rate({histogram}_count[5m])) - "
        f'sum(rate({histogram}_bucket{{le="{float(bound)}"}}[5m]))'
    )


OBJECTIVES: Final = (
    Objective(
        "streams",
        0.995,
        f'sum(rate({_B}jobs_total{{event="job_error",{_THEIRS}}}[5m]))',
        f'sum(rate({_B}jobs_total{{kind!="embedding"}}[5m]))',
        "OkomeStreamsFail",
        "Answers end in an error.",
    ),
    Objective(
        "ttft",
        0.95,
        _beyond(f"{_B}delivered_time_to_first_token_seconds", TTFT_S),
        f"sum(rate({_B}delivered_time_to_first_token_seconds_count[5m]))",
        "OkomeFirstTokenLate",
        f"People wait for more than {TTFT_S:g} s for the first token.",
    ),
    Objective(
        "stalls",
        1 - STALLS_PER_1000 / 1000,
        _beyond(f"{_B}delivered_gap_seconds", STALL_S),
        f"sum(rate({_B}delivered_events_total[5m]))",
        "OkomeStreamsStall",
        f"Answers stand still for more than {STALL_S * 1000:g} ms.",
        2000,
    ),
    Objective(
        "resumes",
        0.995,
        f'sum(rate({_B}resumes_total{{outcome=~"bad_cursor|log_unavailable"}}[5m]))',
        f'sum(rate({_B}resumes_total{{outcome=~"ok|bad_cursor|log_unavailable"}}[5m]))',
        "OkomeResumesFail",
        "People who come back cannot go on where they were.",
    ),
    Objective(
        "availability",
        0.999,
        f'sum(rate({_B}accept_seconds_count{{outcome=~"{_OURS_5XX}"}}[5m]))',
        f'sum(rate({_B}accept_seconds_count{{outcome!~"left|draining"}}[5m]))',
        "OkomeRequestsRefused",
        "New requests are turned away for reasons of ours.",
    ),
)

# The budgets of the hops (CONTRACT, "The fixed cluster"), 95 of 100.
ACCEPT_S: Final = 0.1
DECISION_S: Final = 0.05
CACHE_S: Final = 0.002
HOLD_S: Final = 0.1
INGRESS_S: Final = 0.005
# A hold is measured with its timer, which a busy node fires late.
HOLD_SEEN_S: Final = 0.15
# What has no budget in the contract.
LOG_FLUSH_S: Final = 0.03
OVERHEAD_S: Final = 0.03
LOOP_LAG_S: Final = 0.1
# Engines: the first token at p95, p99 - p50 of gaps, stalls of 1,000 chunks.
ENGINE_TTFT_S: Final = 2.0
ENGINE_JITTER_S: Final = 0.25
ENGINE_STALLS_PER_1000: Final = 5.0
# Seconds without an answer of the control plane; after 300 nobody gets a new job.
POLICY_AGE_S: Final = 30
# Viewers that were closed because they took nothing, in ten minutes.
EVICTIONS: Final = 5
SPOOLED: Final = 200
QUEUED: Final = 20
RESTARTS: Final = 3
DISK_FREE: Final = 0.10
DISK_FREE_LEAST: Final = 0.03
CLOCK_OFF_S: Final = 0.5
# Seconds that a certificate is valid still. Any play makes those of the cluster's own anew when
# they have 60 days left.
CERTIFICATE_LEFT_S: Final = 30 * 86400
CERTIFICATE_LEAST_S: Final = 3 * 86400
