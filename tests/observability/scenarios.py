"""What goes wrong in a cluster, and which alerts have to fire then: these and no others."""

from __future__ import annotations

from dataclasses import dataclass

from observability.slo import OBJECTIVES, WATCHDOG
from tests.observability.cluster_series import (
    DAY_S,
    ENGINE,
    NODES,
    STEPS,
    Series,
    accepts,
    first_tokens,
    flat,
    gaps,
    rising,
    spans,
    well,
)

B = "okome_broker_"
CONTROL = 'job="okome-control",node="okome"'


@dataclass(frozen=True)
class Scenario:
    """`changes`: series in place of those of a cluster that is well; `gone`: parts of names
    of those that are not scraped."""

    name: str
    fires: frozenset[str]
    changes: Series
    gone: tuple[str, ...] = ()

    def series(self) -> Series:
        """All that is scraped."""
        left = {
            name: values
            for name, values in well().items()
            if not any(part in name for part in self.gone)
        }
        return left | self.changes


def labels(node: str) -> str:
    return f'job="okome-broker",node="{node}",worker="0"'


def everywhere(name: str, values: str, more: str = "") -> Series:
    return {f"{name}{{{labels(node)}{more}}}": values for node in NODES}


def case(name: str, *fires: str, gone: tuple[str, ...] = (), **changes: Series) -> Scenario:
    """`changes` are named for the reader only."""
    together: Series = {}
    for some in changes.values():
        together |= some
    return Scenario(name, frozenset((*fires, WATCHDOG)), together, gone)


def at_engine(**how: float) -> Series:
    """What an engine does is seen where its chunks come and where they go."""
    engine, viewer = f"{labels('03')},{ENGINE}", f'{labels("03")},model="small"'
    return gaps(engine, point="engine", **how) | gaps(viewer, **how)


def late_engine(late: float) -> Series:
    engine, viewer = f"{labels('03')},{ENGINE}", f'{labels("03")},model="small"'
    return first_tokens(engine, late=late, point="engine") | first_tokens(viewer, late=late)


def hop(name: str, node: str, within: str) -> Series:
    """All values of a hop up to `within` and beyond the budget below it."""
    return {f'{B}{name}_bucket{{{labels(node)},le="0.002"}}': flat(0)} | spans(
        f"{B}{name}", labels(node), within
    )


RESUMES = f'{B}resumes_total{{{labels("03")},relay="elsewhere",'
EVICTED = f'{B}viewers_closed_total{{{labels("03")},reason="send_timeout"}}'
JOBS = f'{B}jobs_total{{{labels("03")},kind="job",'
_HELD = {f'{B}pacer_hold_seconds_bucket{{{labels("03")},le="0.06"}}': flat(0)}
_CERTIFICATE = 'okome_certificate_expires_timestamp_seconds{node="03",certificate="node"}'
_DISK = 'node_filesystem_avail_bytes{node="03",mountpoint="/",fstype="ext4"}'
_HALF = STEPS // 2

FAULTS = (
    case("all is well"),
    case(
        "nobody is here",
        gone=("okome_broker_", "okome_client_"),
        age=everywhere(f"{B}policy_age_seconds", flat(1)),
    ),
    # People feel it.
    case(
        "answers fail",
        "OkomeStreamsFail",
        errors={f'{JOBS}event="job_error",code="engine_error"}}': rising(6)},
    ),
    case(
        "prompts are too long",
        errors={f'{JOBS}event="job_error",code="context_too_long"}}': rising(6)},
    ),
    case(
        "one answer fails",
        gone=("okome_broker_jobs_total",),
        errors={
            f'{JOBS}event="job_error",code="engine_error"}}': f"0x10 1x{STEPS - 10}",
            f'{JOBS}event="job_complete",code="stop"}}': f"0x10 1x{STEPS - 10}",
        },
    ),
    case(
        "people cannot go on",
        "OkomeResumesFail",
        resumes={f'{RESUMES}outcome="log_unavailable"}}': rising(3)},
    ),
    case(
        "jobs of others are asked for",
        resumes={f'{RESUMES}outcome="unknown_job"}}': rising(30)},
    ),
    case("requests are turned away", "OkomeRequestsRefused", refused=accepts("03", refused=5)),
    # Engines.
    case("a slow engine", "OkomeEngineSlow", "OkomeFirstTokenLate", ttft=late_engine(29)),
    case("an engine is slow now and then", ttft=late_engine(1)),
    case("a stalling engine", "OkomeEngineStalls", "OkomeStreamsStall", gaps=at_engine(stalls=80)),
    case("a bursty engine", "OkomeEngineBursty", gaps=at_engine(bursts=100)),
    case("a stall in ten thousand", gaps=at_engine(stalls=0.1)),
    case(
        "a dead engine",
        "OkomeEngineDown",
        up={f'okome_control_engine_up{{{CONTROL},engine="http://e2"}}': flat(0)},
        breaker={f'okome_control_engine_breaker{{{CONTROL},engine="e2",model="small"}}': flat(2)},
        scrape={'up{job="engine",node="gpu",engine="e2"}': flat(0)},
    ),
    case(
        "a liar of an engine",
        "OkomeEngineBreakerOpen",
        breaker={f'okome_control_engine_breaker{{{CONTROL},engine="e1",model="small"}}': flat(2)},
    ),
    case(
        "a trial of an engine",
        breaker={f'okome_control_engine_breaker{{{CONTROL},engine="e1",model="small"}}': flat(1)},
    ),
    case(
        "full engines",
        "OkomeEnginesFull",
        queue={f'okome_control_queue_length{{{CONTROL},model="small"}}': flat(40)},
    ),
    # Brokers and their clients.
    case(
        "a dead broker",
        "OkomeBrokerDown",
        gone=('job="okome-broker",node="04"',),
        up={f"up{{{labels('04')}}}": flat(0)},
    ),
    case("no broker", "OkomeNoBroker", gone=('job="okome-broker"',), up=everywhere("up", flat(0))),
    case("a broker that missed one scrape", up={f"up{{{labels('04')}}}": f"1x{_HALF} 0 1x{_HALF}"}),
    case(
        "a broker that dies again and again",
        "OkomeBrokerRestarts",
        start={
            f"process_start_time_seconds{{{labels('03')}}}": " ".join(
                str(n // 2) for n in range(STEPS)
            )
        },
    ),
    case(
        "a broker that was deployed",
        start={f"process_start_time_seconds{{{labels('03')}}}": f"1x{_HALF} 2x{_HALF}"},
    ),
    case(
        "a busy broker",
        "OkomeStreamsStall",
        "OkomeBrokerBusy",
        lag=hop("loop_lag_seconds", "03", "0.25"),
        accept=accepts("03", late=True),
        gaps=gaps(f'{labels("03")},model="small"', stalls=8),
        held=_HELD | spans(f"{B}pacer_hold_seconds", labels("03"), "0.25"),
    ),
    case("a broker with an overhead", "OkomeBrokerBusy", own=hop("overhead_seconds", "03", "0.1")),
    case(
        "a broker that stalls",
        "OkomeStreamsStall",
        "OkomeDeliveryStalls",
        gaps=gaps(f'{labels("03")},model="small"', stalls=9),
    ),
    case(
        "a pacer that holds",
        "OkomePacerHolds",
        held=_HELD | spans(f"{B}pacer_hold_seconds", labels("03"), "0.25"),
    ),
    case("a slow door", "OkomeAcceptSlow", accept=accepts("03", late=True)),
    case(
        "slow clients",
        "OkomeSlowViewers",
        closed={EVICTED: rising(1)},
    ),
    case(
        "one slow client",
        closed={EVICTED: f"0x10 1x{STEPS - 10}"},
    ),
    case(
        "a slow ingress",
        "OkomeIngressSlow",
        queue={'haproxy_backend_queue_time_average_seconds{node="01",proxy="jobs"}': flat(0.02)},
    ),
    # The log.
    case(
        "a log that is away",
        "OkomeLogAway",
        away={f"{B}log_away{{{labels('03')}}}": flat(1)},
        failures={f"{B}log_flush_failures_total{{{labels('03')}}}": rising(60)},
    ),
    case(
        "a log that fails",
        "OkomeLogFails",
        failures={f"{B}log_flush_failures_total{{{labels('03')}}}": rising(60)},
    ),
    case(
        "a log that failed over",
        failures={f"{B}log_flush_failures_total{{{labels('03')}}}": f"0x10 12x{STEPS - 10}"},
    ),
    case(
        "a slow log",
        "OkomeStreamsStall",
        "OkomeLogSlow",
        flush=hop("log_flush_seconds", "03", "0.3"),
        gaps=gaps(f'{labels("03")},model="small"', stalls=9),
        accept=accepts("03", late=True),
    ),
    case(
        "a slow cache",
        "OkomeCacheSlow",
        cache={
            f'{B}cache_lookup_seconds_bucket{{{labels("03")},kind="embedding",le="0.001"}}': flat(0)
        }
        | spans(f"{B}cache_lookup_seconds", f'{labels("03")},kind="embedding"', "0.01"),
    ),
    # The control plane.
    case(
        "the control plane is away",
        "OkomeControlPlaneAway",
        gone=("okome_control_", CONTROL),
        age=everywhere(f"{B}policy_age_seconds", rising(30)),
        up={f"up{{{CONTROL}}}": flat(0)},
        spool=everywhere(f"{B}settlements_spooled", rising(30)),
        accept=accepts("03", late=True),
    ),
    case(
        "the control plane was restarted",
        age=everywhere(f"{B}policy_age_seconds", f"1x10 12 1x{STEPS - 10}"),
    ),
    case(
        "the control plane is not scraped",
        "OkomeTargetDown",
        gone=("okome_control_", CONTROL),
        up={f"up{{{CONTROL}}}": flat(0)},
    ),
    case(
        "a broker that has lost the control plane",
        "OkomePolicyOld",
        age={f"{B}policy_age_seconds{{{labels('03')}}}": rising(30)},
    ),
    case(
        "slow decisions",
        "OkomeDecisionSlow",
        grants={f'okome_control_grant_seconds_bucket{{{CONTROL},le="0.01"}}': flat(0)}
        | spans("okome_control_grant_seconds", CONTROL, "0.25"),
        accept=accepts("03", late=True),
    ),
    case(
        "a policy with a fault",
        "OkomePolicyRefused",
        refused={f"okome_control_policy_refused{{{CONTROL}}}": flat(1)},
    ),
    case(
        "a fault of the control plane",
        "OkomeControlFaults",
        faults={f"okome_control_faults_total{{{CONTROL}}}": rising(1)},
    ),
    case(
        "a spool that grows",
        "OkomeSpoolGrows",
        spool={f"{B}settlements_spooled{{{labels('03')}}}": rising(30)},
    ),
    case(
        "a spool that is taken",
        spool={f"{B}settlements_spooled{{{labels('03')}}}": f"2000-40x{STEPS}"},
    ),
    case(
        "usage is lost",
        "OkomeUsageLost",
        lost={f"{B}settlements_dropped_total{{{labels('03')}}}": rising(1)},
    ),
    # Nodes, and who watches.
    case("a full disk", "OkomeDiskFull", disk={_DISK: flat(1)}),
    case("a disk that fills up", "OkomeDiskFills", disk={_DISK: flat(7)}),
    case(
        "a clock that is off",
        "OkomeClockOff",
        clock={'node_timex_offset_seconds{node="03"}': flat(-3)},
    ),
    case(
        "a clock that jumped",
        clock={'node_timex_offset_seconds{node="03"}': f"0x10 30 0x{STEPS - 10}"},
        age={f"{B}policy_age_seconds{{{labels('03')}}}": flat(1)},
    ),
    case(
        "a certificate that nobody has made anew",
        "OkomeCertificateOld",
        certificate={_CERTIFICATE: flat(20 * DAY_S)},
    ),
    case(
        "a certificate that is about to expire",
        "OkomeCertificateExpires",
        certificate={_CERTIFICATE: flat(2 * DAY_S)},
    ),
    case("an exporter is gone", "OkomeTargetDown", up={'up{job="node",node="03"}': flat(0)}),
    case(
        "rules that fail",
        "OkomeRulesFail",
        failures={
            'prometheus_rule_evaluation_failures_total{job="prometheus",node="09"}': rising(1)
        },
    ),
)


def burnt(values: dict[str, str]) -> Series:
    """What the recording rules have found of all objectives, an hour a step."""
    all_ = {f'okome:slo_all:rate5m{{slo="{name}"}}': "10x80" for name in values}
    bad = {f'okome:slo_bad:rate5m{{slo="{name}"}}': value for name, value in values.items()}
    return all_ | bad


def burning(factor: float) -> Series:
    """For three days, of ten events a second, so many budgets have been bad."""
    return burnt({o.name: f"{min(10.0, 10 * factor * o.budget):g}x80" for o in OBJECTIVES})


PAGES = {(objective.alert, "page") for objective in OBJECTIVES}
TICKETS = {(objective.alert, "ticket") for objective in OBJECTIVES}
# What was burnt, and the alerts with their severities that fire then.
BURNING = {
    "fast": (burning(20), PAGES | TICKETS),
    "slowly": (burning(2), TICKETS),
    "half of what may be": (burning(0.5), set()),
    "all of it a day ago, and no more": (
        burnt({o.name: "0x50 10x2 0x30" for o in OBJECTIVES}),
        set(),
    ),
}
