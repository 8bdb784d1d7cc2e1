"""Every metric of the control plane, in a registry of its own.

| name | labels | meaning |
| --- | --- | --- |
| okome_control_grants_total | code | grants decided; `ok`, or the code of the refusal |
| okome_control_grant_seconds | | time from a readable grant request to its decision |
| okome_control_settlements_total | outcome, first | settlements; `first="false"` are repeats |
| okome_control_tokens_total | model, kind | settled tokens; kind is prompt, completion, cached |
| okome_control_leases_unknown_total | | renewals of leases that hold no slot |
| okome_control_logins_total | result | session tokens asked for; `ok` or `refused` |
| okome_control_leases_live | | streams that hold a lease, as of this scrape |
| okome_control_engine_up | engine | 1 while the engine at this URL counts as healthy |
| okome_control_engine_continues | engine, model | 1 where it was seen to go on behind a text |
| okome_control_policy_reloads_total | result | policy files read anew; `taken` or `refused` |
| okome_control_policy_refused | | 1 while the policy file cannot be used and an older one holds |
| okome_control_engine_jobs | engine | jobs that were sent there and have not ended |
| okome_control_engine_running | engine | requests that run there, as it says itself |
| okome_control_engine_waiting | engine | requests that wait there, as it says itself |
| okome_control_engine_drained | engine | 1 while an operator keeps new jobs away |
| okome_control_engine_breaker | engine, model | 0 closed, 1 half open, 2 open |
| okome_control_engine_faults_total | engine, fault | attempts that failed there |
| okome_control_queue_length | model | jobs that wait for their turn |
| okome_control_placements_total | engine, reason | `preferred`, `affinity`, `load`, `fallback` |
| okome_control_overload_total | model, step | what became of jobs too many (docs/engines.md) |
| okome_control_faults_total | | exceptions that became a 500 |
| okome_control_tool_calls_total | tool, outcome | calls of the policy's tools |
| okome_control_tool_seconds | tool | time from a call to its outcome |
| okome_control_tool_lines_lost_total | | lines of the audit log that found no room |
| process_cpu_seconds_total | | CPU time of this process |
| process_resident_memory_bytes | | what it has in memory |
| process_virtual_memory_bytes | | what it has mapped |
| process_open_fds | | file descriptors that are open |
| process_max_fds | | how many may be |
| process_start_time_seconds | | when it began, Unix time |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

_TOOL_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GRANT_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """The metrics of one application; the table above says what each means."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.grants = Counter(
            "okome_control_grants", "Grants decided, by code.", ["code"], registry=registry
        )
        self.grant_seconds = Histogram(
            "okome_control_grant_seconds",
            "Seconds from a readable grant request to its decision.",
            buckets=_GRANT_BUCKETS,
            registry=registry,
        )
        self.settlements = Counter(
            "okome_control_settlements", "Settlements.", ["outcome", "first"], registry=registry
        )
        self.tokens = Counter(
            "okome_control_tokens", "Settled tokens.", ["model", "kind"], registry=registry
        )
        self.leases_unknown = Counter(
            "okome_control_leases_unknown",
            "Renewals of leases that hold no slot.",
            registry=registry,
        )
        self.logins = Counter(
            "okome_control_logins", "Session tokens asked for.", ["result"], registry=registry
        )
        self.leases_live = Gauge(
            "okome_control_leases_live", "Streams that hold a lease.", registry=registry
        )
        self.engine_up = Gauge(
            "okome_control_engine_up",
            "1 while the engine counts as healthy.",
            ["engine"],
            registry=registry,
        )
        self.engine_continues = Gauge(
            "okome_control_engine_continues",
            "1 where the engine was seen to go on behind a text.",
            ["engine", "model"],
            registry=registry,
        )
        self.policy_reloads = Counter(
            "okome_control_policy_reloads",
            "Policy files read anew.",
            ["result"],
            registry=registry,
        )
        self.policy_refused = Gauge(
            "okome_control_policy_refused",
            "1 while the policy file cannot be used.",
            registry=registry,
        )
        self._of_engines(registry)
        self.faults = Counter(
            "okome_control_faults", "Exceptions that became a 500.", registry=registry
        )
        self._of_tools()
        ProcessCollector(registry=registry)

    def _of_tools(self) -> None:
        """`tool` is a name of the policy, so there are as many as an operator has written."""
        self.tool_calls = Counter(
            "okome_control_tool_calls",
            "Calls of the policy's tools.",
            ["tool", "outcome"],
            registry=self.registry,
        )
        self.tool_seconds = Histogram(
            "okome_control_tool_seconds",
            "Seconds from a call of a tool to its outcome.",
            ["tool"],
            buckets=_TOOL_BUCKETS,
            registry=self.registry,
        )
        self.tool_lines_lost = Counter(
            "okome_control_tool_lines_lost",
            "Lines of the audit log on tool calls that found no room.",
            registry=self.registry,
        )

    def _of_engines(self, registry: CollectorRegistry) -> None:
        """Written at each scrape, by `control_plane/placing/telling.py`."""

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"okome_control_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"okome_control_{name}", text, labels, registry=registry)

        self.engine_jobs = gauge("engine_jobs", "Jobs sent there and not ended.", "engine")
        self.engine_running = gauge("engine_running", "Requests running there.", "engine")
        self.engine_waiting = gauge("engine_waiting", "Requests waiting there.", "engine")
        self.engine_drained = gauge("engine_drained", "1 while it gets no new jobs.", "engine")
        self.engine_breaker = gauge(
            "engine_breaker", "0 closed, 1 half open, 2 open.", "engine", "model"
        )
        self.engine_faults = counter(
            "engine_faults", "Attempts that failed there.", "engine", "fault"
        )
        self.queue_length = gauge("queue_length", "Jobs waiting for their turn.", "model")
        self.placements = counter(
            "placements", "Jobs sent to engines, by why there.", "engine", "reason"
        )
        self.overload = counter("overload", "What became of jobs too many.", "model", "step")

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What a scrape with this `Accept` is given, and its media type."""
        encode, media = choose_encoder(accept)
        return encode(self.registry), media
