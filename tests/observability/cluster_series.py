"""What a Prometheus has scraped of a cluster that is well, as promtool's series."""

from __future__ import annotations

from collections.abc import Mapping

Series = dict[str, str]

NODES = ("03", "04")
STEPS = 20
DAY_S = 86400
ENGINE = 'engine="http://e1",model="small"'


def flat(value: float | str) -> str:
    """The same at every scrape."""
    return f"{value}+0x{STEPS}"


def rising(step: float, begin: float = 0) -> str:
    """A counter that grows by so much from scrape to scrape."""
    return f"{begin:g}+{step:g}x{STEPS}"


def histogram(name: str, labels: str, within: Mapping[str, float]) -> Series:
    """A histogram that grows by so many values from scrape to scrape; `within`: how many of
    them are within which bound, all of them within `+Inf`."""
    comma = "," if labels else ""
    found = {
        f'{name}_bucket{{{labels}{comma}le="{bound}"}}': rising(count)
        for bound, count in within.items()
    }
    return found | {f"{name}_count{{{labels}}}": rising(within["+Inf"])}


def first_tokens(labels: str, *, late: float = 0, point: str = "delivered") -> Series:
    """30 first tokens a scrape, of which so many come after 2 s."""
    name = f"okome_broker_{point}_time_to_first_token_seconds"
    soon = 30 - late
    return histogram(name, labels, {"0.25": soon, "2.0": soon, "5.0": 30, "+Inf": 30})


def gaps(labels: str, *, stalls: float = 0, bursts: float = 0, point: str = "delivered") -> Series:
    """1000 gaps a scrape: 20 to 40 ms, or 200 to 500 ms between bursts, or stalls."""
    name = f"okome_broker_{point}_gap_seconds"
    even = 1000 - stalls - bursts
    within = {"0.02": 0, "0.04": even, "0.2": even, "0.5": 1000 - stalls, "1.0": 1000, "+Inf": 1000}
    return histogram(name, labels, within)


def broker(node: str) -> Series:
    """One broker of a node, under load."""
    labels = f'job="okome-broker",node="{node}",worker="0"'
    own = f"{{{labels}}}"
    b = "okome_broker_"
    return {
        f"up{own}": flat(1),
        f"process_start_time_seconds{own}": flat(1_800_000_000),
        f"{b}policy_age_seconds{own}": flat(1),
        f"{b}log_away{own}": flat(0),
        f"{b}settlements_spooled{own}": flat(2),
        f"{b}settlements_dropped_total{own}": flat(0),
        f"{b}log_flush_failures_total{own}": flat(0),
        f"{b}delivered_events_total{own}": rising(1000),
        f'{b}viewers_closed_total{{{labels},reason="ended"}}': rising(30),
        f'{b}viewers_closed_total{{{labels},reason="send_timeout"}}': flat(0),
        f'{b}jobs_total{{{labels},kind="job",event="job_complete",code="stop"}}': rising(30),
        f'{b}jobs_total{{{labels},kind="job",event="job_error",code="engine_error"}}': flat(0),
        f'{b}resumes_total{{{labels},relay="here",outcome="ok"}}': rising(10),
        f'{b}resumes_total{{{labels},relay="elsewhere",outcome="log_unavailable"}}': flat(0),
        **first_tokens(f'{labels},model="small"'),
        **first_tokens(f"{labels},{ENGINE}", point="engine"),
        **gaps(f'{labels},model="small"'),
        **gaps(f"{labels},{ENGINE}", point="engine"),
        **accepts(node),
        **spans(f"{b}cache_lookup_seconds", f'{labels},kind="embedding"', "0.001"),
        **spans(f"{b}log_flush_seconds", labels, "0.002"),
        **spans(f"{b}overhead_seconds", labels, "0.002"),
        **spans(f"{b}loop_lag_seconds", labels, "0.002"),
        **spans(f"{b}pacer_hold_seconds", labels, "0.06"),
    }


def accepts(node: str, *, refused: float = 0, late: bool = False) -> Series:
    """30 requests for jobs a scrape, of which so many are refused, or all late."""
    name = "okome_broker_accept_seconds"
    labels = f'job="okome-broker",node="{node}",worker="0"'
    soon = 0 if late else 30 - refused
    taken = {"0.025": soon, "0.25": 30 - refused, "+Inf": 30 - refused}
    no = {"0.025": refused, "0.25": refused, "+Inf": refused}
    return histogram(name, f'{labels},outcome="accepted"', taken) | histogram(
        name, f'{labels},outcome="no_engine"', no
    )


def spans(name: str, labels: str, within: str, count: float = 100) -> Series:
    """So many values a scrape, all of them within one bound."""
    return histogram(name, labels, {within: count, "+Inf": count})


def well() -> Series:
    """All of a cluster of two brokers."""
    control = 'job="okome-control",node="okome"'
    client = "okome_client_"
    found: Series = {}
    for node in NODES:
        found |= broker(node)
        found |= {
            f'up{{job="node",node="{node}"}}': flat(1),
            f'node_timex_offset_seconds{{node="{node}"}}': flat(0.001),
            # The clock of these tests begins at 0.
            f'okome_certificate_expires_timestamp_seconds{{node="{node}",certificate="node"}}': (
                flat(400 * DAY_S)
            ),
            f'node_filesystem_avail_bytes{{node="{node}",mountpoint="/",fstype="ext4"}}': flat(60),
            f'node_filesystem_size_bytes{{node="{node}",mountpoint="/",fstype="ext4"}}': flat(100),
            f'node_filesystem_avail_bytes{{node="{node}",mountpoint="/run",fstype="tmpfs"}}': flat(
                0
            ),
            f'node_filesystem_size_bytes{{node="{node}",mountpoint="/run",fstype="tmpfs"}}': flat(
                100
            ),
        }
    return found | {
        f"up{{{control}}}": flat(1),
        f"process_start_time_seconds{{{control}}}": flat(1_800_000_000),
        **spans("okome_control_grant_seconds", control, "0.01"),
        f'okome_control_engine_up{{{control},engine="http://e1"}}': flat(1),
        f'okome_control_engine_up{{{control},engine="http://e2"}}': flat(1),
        f'okome_control_engine_breaker{{{control},engine="e1",model="small"}}': flat(0),
        f'okome_control_queue_length{{{control},model="small"}}': flat(0),
        f"okome_control_policy_refused{{{control}}}": flat(0),
        f"okome_control_faults_total{{{control}}}": flat(0),
        'up{job="haproxy",node="01"}': flat(1),
        'up{job="engine",node="gpu",engine="e1"}': flat(1),
        'haproxy_backend_connect_time_average_seconds{node="01",proxy="jobs"}': flat(0.001),
        'haproxy_backend_queue_time_average_seconds{node="01",proxy="jobs"}': flat(0),
        'up{job="prometheus",node="09"}': flat(1),
        'prometheus_rule_evaluation_failures_total{job="prometheus",node="09"}': flat(0),
        **histogram(f"{client}time_to_first_token_seconds", 'node="03"', {"0.25": 30, "+Inf": 30}),
        **histogram(f"{client}gap_seconds", 'node="03"', {"0.02": 0, "0.04": 1000, "+Inf": 1000}),
    }
