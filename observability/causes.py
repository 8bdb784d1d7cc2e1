"""The alerts of causes, by the hop they are at.

A cause is told once: an alert of a hop stays silent while one further up explains what it sees.
"""

from __future__ import annotations

from typing import Final

from observability import slo
from observability.alert import Alert

_B: Final = "okome_broker_"

# Conditions that explain others.
_CONTROL_AWAY: Final = f"min({_B}policy_age_seconds) > {slo.POLICY_AGE_S}"
_LOG_SLOW: Final = f'okome:hop_seconds{{hop="log"}} > {slo.LOG_FLUSH_S:g}'
_DECISION_SLOW: Final = f'okome:hop_seconds{{hop="decision"}} > {slo.DECISION_S:g}'
_ENGINE_STALLS: Final = f"max(okome:engine_stalls:per_1000) > {slo.ENGINE_STALLS_PER_1000:g}"
_BUSY: Final = (
    f'(okome:hop_seconds{{hop="loop"}} > {slo.LOOP_LAG_S:g}'
    f' or okome:hop_seconds{{hop="broker"}} > {slo.OVERHEAD_S:g})'
)
_VALID: Final = "min by (node, certificate) (okome_certificate_expires_timestamp_seconds) - time()"
_REAL: Final = 'fstype!~"tmpfs|overlay|squashfs|ramfs"'
_DISK: Final = (
    f"min by (node, mountpoint) (node_filesystem_avail_bytes{{{_REAL}}}"
    f" / node_filesystem_size_bytes{{{_REAL}}})"
)

ENGINES: Final = (
    Alert(
        "OkomeEngineSlow",
        "engine",
        "ticket",
        f"okome:engine_ttft_seconds:p95 > {slo.ENGINE_TTFT_S:g}",
        "5m",
        "The engine {{ $labels.engine }} takes long to begin an answer.",
        "5 of 100 answers of {{ $labels.model }} begin after {{ $value | humanizeDuration }} "
        "or later, from when the broker asks.",
    ),
    Alert(
        "OkomeEngineStalls",
        "engine",
        "ticket",
        f"okome:engine_stalls:per_1000 > {slo.ENGINE_STALLS_PER_1000:g}",
        "5m",
        "The engine {{ $labels.engine }} stands still in its answers.",
        "Of 1,000 chunks of {{ $labels.model }}, {{ $value | humanize }} come more than "
        f"{slo.STALL_S * 1000:g} ms after the one before.",
    ),
    Alert(
        "OkomeEngineBursty",
        "engine",
        "ticket",
        f"okome:engine_jitter_seconds > {slo.ENGINE_JITTER_S:g}"
        f" unless okome:engine_stalls:per_1000 > {slo.ENGINE_STALLS_PER_1000:g}",
        "5m",
        "The engine {{ $labels.engine }} sends its tokens in bursts.",
        "The gaps of {{ $labels.model }} differ by {{ $value | humanizeDuration }} (p99 - p50): "
        "more than the pacer may bridge.",
    ),
    Alert(
        "OkomeEngineDown",
        "engine",
        "page",
        "okome_control_engine_up == 0",
        "1m",
        "The engine {{ $labels.engine }} does not answer.",
        "The control plane sends no jobs there. Models that no other engine has get 503 no_engine.",
    ),
    Alert(
        "OkomeEngineBreakerOpen",
        "engine",
        "ticket",
        "okome_control_engine_breaker == 2 unless on () min(okome_control_engine_up) == 0",
        "2m",
        "{{ $labels.engine }} answers, and fails with {{ $labels.model }}.",
        "Its breaker has been open for two minutes: jobs go to other engines, or nowhere.",
    ),
    Alert(
        "OkomeEnginesFull",
        "engine",
        "ticket",
        f"sum(okome_control_queue_length) > {slo.QUEUED}",
        "5m",
        "More is asked than the engines can do.",
        "{{ $value }} jobs wait for their turn.",
    ),
)
BROKERS: Final = (
    Alert(
        "OkomeBrokerDown",
        "broker",
        "ticket",
        'up{job="okome-broker"} == 0 and on () max(up{job="okome-broker"}) == 1',
        "1m",
        "The broker {{ $labels.node }}/{{ $labels.worker }} does not answer.",
        "Others have taken its streams over.",
    ),
    Alert(
        "OkomeNoBroker",
        "broker",
        "page",
        'max(up{job="okome-broker"}) == 0',
        "1m",
        "No broker answers.",
        "Nobody is served, or this Prometheus is cut off from all of them.",
    ),
    Alert(
        "OkomeBrokerRestarts",
        "broker",
        "ticket",
        "changes(process_start_time_seconds"
        f'{{job=~"okome-broker|okome-control"}}[15m]) > {slo.RESTARTS}',
        "",
        "A process of {{ $labels.node }} ({{ $labels.job }}) starts again and again.",
        "{{ $value }} times in 15 minutes.",
    ),
    Alert(
        "OkomeBrokerBusy",
        "broker",
        "ticket",
        f"max by (node) {_BUSY}",
        "5m",
        "A broker of {{ $labels.node }} is late by itself.",
        "Its own part of a token's way takes {{ $value | humanizeDuration }}, whatever engines, "
        "log and clients do.",
    ),
    Alert(
        "OkomeDeliveryStalls",
        "broker",
        "ticket",
        f"okome:delivered_stalls:per_1000 > {slo.ENGINE_STALLS_PER_1000:g}"
        f" unless on () {_ENGINE_STALLS} unless on (node) {_LOG_SLOW}"
        f" unless on (node) okome_broker_log_away == 1 unless on (node) {_BUSY}",
        "5m",
        "Answers stand still at {{ $labels.node }}, and neither its engines nor its log do.",
        "Of 1,000 tokens, {{ $value | humanize }} come more than "
        f"{slo.STALL_S * 1000:g} ms after the one before.",
    ),
    Alert(
        "OkomePacerHolds",
        "broker",
        "ticket",
        f'okome:hop_seconds{{hop="pacer"}} > {slo.HOLD_SEEN_S:g} unless on (node) {_BUSY}',
        "10m",
        "The pacer of {{ $labels.node }} holds tokens for longer than 100 ms.",
        "p99 is {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "OkomeAcceptSlow",
        "broker",
        "ticket",
        f'okome:hop_seconds{{hop="accept"}} > {slo.ACCEPT_S:g} unless on () {_DECISION_SLOW}'
        f" unless on () {_CONTROL_AWAY} unless on (node) {_LOG_SLOW} unless on (node) {_BUSY}",
        "10m",
        "{{ $labels.node }} takes long to accept a request.",
        "p95 is {{ $value | humanizeDuration }}; the budget is 100 ms.",
    ),
    Alert(
        "OkomeSlowViewers",
        "client",
        "info",
        f'sum(increase({_B}viewers_closed_total{{reason="send_timeout"}}[10m])) > {slo.EVICTIONS}',
        "",
        "Clients take nothing of what they asked for.",
        "{{ $value | humanize }} connections were closed in ten minutes; nobody else is slowed.",
    ),
    Alert(
        "OkomeIngressSlow",
        "ingress",
        "ticket",
        f'okome:hop_seconds{{hop="ingress"}} > {slo.INGRESS_S:g}',
        "10m",
        "The ingress {{ $labels.node }} takes long to reach a server.",
        "Queue and connect take {{ $value | humanizeDuration }} on the average; "
        "the budget is 5 ms.",
    ),
)
LOG: Final = (
    Alert(
        "OkomeLogAway",
        "log",
        "page",
        "max by (node) (okome_broker_log_away) == 1",
        "30s",
        "The log of {{ $labels.node }} takes no writes.",
        "Its streams wait, and fail after max_pause (30 s); new work goes elsewhere.",
    ),
    Alert(
        "OkomeLogFails",
        "log",
        "page",
        f"sum by (node) (rate({_B}log_flush_failures_total[2m])) > 0.2"
        " unless on (node) okome_broker_log_away == 1",
        "1m",
        "Flushes of {{ $labels.node }} to the log fail.",
        "{{ $value | humanize }} a second: not answered, or not acknowledged by enough replicas.",
    ),
    Alert(
        "OkomeLogSlow",
        "log",
        "ticket",
        _LOG_SLOW,
        "3m",
        "The log of {{ $labels.node }} is slow to acknowledge.",
        "p95 of a flush is {{ $value | humanizeDuration }}; every token waits for it.",
    ),
    Alert(
        "OkomeCacheSlow",
        "log",
        "info",
        f'okome:hop_seconds{{hop="cache"}} > {slo.CACHE_S:g}',
        "10m",
        "The hot cache is slow for {{ $labels.node }}.",
        "p95 of a lookup is {{ $value | humanizeDuration }}; the budget is 2 ms. "
        "It costs speed only.",
    ),
)
CONTROL: Final = (
    Alert(
        "OkomeControlPlaneAway",
        "control",
        "page",
        _CONTROL_AWAY,
        "15s",
        "The control plane answers no broker.",
        "For {{ $value | humanizeDuration }} so far. Streams go on; "
        "after 5 minutes new jobs get 503.",
    ),
    Alert(
        "OkomePolicyOld",
        "control",
        "ticket",
        f"max by (node) ({_B}policy_age_seconds) > {slo.POLICY_AGE_S} unless on () {_CONTROL_AWAY}",
        "1m",
        "{{ $labels.node }} does not reach the control plane, and others do.",
        "After 5 minutes it gives new jobs 503.",
    ),
    Alert(
        "OkomeDecisionSlow",
        "control",
        "ticket",
        _DECISION_SLOW,
        "5m",
        "The control plane takes long to decide.",
        "p95 of a grant is {{ $value | humanizeDuration }}; the budget is 50 ms.",
    ),
    Alert(
        "OkomePolicyRefused",
        "control",
        "ticket",
        "max(okome_control_policy_refused) == 1",
        "1m",
        "The policy file cannot be used.",
        "The one before holds. The control plane's log says which line it is.",
    ),
    Alert(
        "OkomeControlFaults",
        "control",
        "ticket",
        "increase(okome_control_faults_total[10m]) > 0",
        "",
        "The control plane has answered 500.",
        "Its log has the exception.",
    ),
    Alert(
        "OkomeSpoolGrows",
        "control",
        "ticket",
        f"max by (node) ({_B}settlements_spooled) > {slo.SPOOLED}"
        f" and max by (node) (deriv({_B}settlements_spooled[10m])) > 0"
        f" unless on () {_CONTROL_AWAY}",
        "5m",
        "{{ $labels.node }} cannot get rid of its settlements.",
        "{{ $value }} wait in its spool, and the control plane answers.",
    ),
    Alert(
        "OkomeUsageLost",
        "control",
        "page",
        f"sum by (node) (increase({_B}settlements_dropped_total[15m])) > 0",
        "",
        "Usage was lost at {{ $labels.node }}: its spool is full.",
        "spool_max is reached; the answers were given, and nobody was charged for them.",
    ),
)
NODES: Final = (
    Alert(
        "OkomeDiskFull",
        "node",
        "page",
        f"{_DISK} < {slo.DISK_FREE_LEAST:g}",
        "5m",
        "{{ $labels.mountpoint }} of {{ $labels.node }} is full.",
        "{{ $value | humanizePercentage }} is left.",
    ),
    Alert(
        "OkomeDiskFills",
        "node",
        "ticket",
        f"{_DISK} < {slo.DISK_FREE:g} unless {_DISK} < {slo.DISK_FREE_LEAST:g}",
        "15m",
        "{{ $labels.mountpoint }} of {{ $labels.node }} fills up.",
        "{{ $value | humanizePercentage }} is left.",
    ),
    Alert(
        "OkomeClockOff",
        "node",
        "ticket",
        f"abs(node_timex_offset_seconds) > {slo.CLOCK_OFF_S:g}",
        "10m",
        "The clock of {{ $labels.node }} is off.",
        "By {{ $value | humanizeDuration }}. Sessions, leases and the figures here go by it.",
    ),
    Alert(
        "OkomeCertificateExpires",
        "node",
        "page",
        f"{_VALID} < {slo.CERTIFICATE_LEAST_S}",
        "",
        "A certificate of {{ $labels.node }} ({{ $labels.certificate }}) is about to expire.",
        "{{ $value | humanizeDuration }} are left. After that nobody is let in by it: clients "
        "at the VIP, brokers at the control plane.",
    ),
    Alert(
        "OkomeCertificateOld",
        "node",
        "ticket",
        f"{_VALID} < {slo.CERTIFICATE_LEFT_S} unless {_VALID} < {slo.CERTIFICATE_LEAST_S}",
        "",
        "A certificate of {{ $labels.node }} ({{ $labels.certificate }}) has to be made anew.",
        "{{ $value | humanizeDuration }} are left.",
    ),
    Alert(
        "OkomeTargetDown",
        "node",
        "ticket",
        'up{job!~"okome-broker|engine"} == 0'
        f' unless on (job) (up{{job="okome-control"}} and on () {_CONTROL_AWAY})',
        "5m",
        "{{ $labels.job }} of {{ $labels.node }} answers no scrape.",
        "What it would tell is missing from panels and alerts.",
    ),
)
WATCHING: Final = (
    Alert(
        "OkomeRulesFail",
        "node",
        "ticket",
        "increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
        "5m",
        "The Prometheus of {{ $labels.node }} cannot work its rules out.",
        "Alerts may be missing. Its log names the rule.",
    ),
    Alert(
        slo.WATCHDOG,
        "node",
        "info",
        "vector(1)",
        "",
        "Alerts arrive.",
        "This one fires always. Where it stops arriving, nobody would be told of anything.",
    ),
)
