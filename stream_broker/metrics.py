"""The broker's metrics: every name is here, and nothing is counted per token by itself.

Buckets of times follow the OpenTelemetry GenAI conventions (time to first token).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.5, 1, 5)

_FLUSH_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.03, 0.1, 0.3, 1, 3, 10, 30)

_LOOKUP_BUCKETS = (0.00002, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.01, 0.1)


class BrokerMetrics:
    """One registry per process. Labels are bounded: kinds, codes, outcomes; never users."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_jobs()
        self._of_the_way_in_and_out()
        self._of_what_fails()
        self._of_browsers()
        self._of_embeddings()

    def _of_jobs(self) -> None:
        self.jobs = Counter(
            "okome_broker_jobs_total",
            "Jobs that ended, by kind, terminal event and code.",
            ("kind", "event", "code"),
            registry=self.registry,
        )
        self.tokens = Counter(
            "okome_broker_tokens_total",
            "Tokens of ended jobs, by direction.",
            ("direction",),
            registry=self.registry,
        )
        self.ttft = Histogram(
            "okome_broker_time_to_first_token_seconds",
            "From the acceptance of a job to its first token or reasoning event.",
            buckets=_TTFT_BUCKETS,
            registry=self.registry,
        )
        self.gap_p99 = Histogram(
            "okome_broker_job_gap_p99_seconds",
            "p99 of the gaps between the chunks of a job, as the engine sent them.",
            buckets=_GAP_BUCKETS,
            registry=self.registry,
        )

    def _of_the_way_in_and_out(self) -> None:
        self.requests_refused = Counter(
            "okome_broker_requests_refused_total",
            "Requests answered with a problem, by code.",
            ("code",),
            registry=self.registry,
        )
        self.viewers_closed = Counter(
            "okome_broker_viewers_closed_total",
            "Viewer connections that ended, by reason.",
            ("reason",),
            registry=self.registry,
        )

    def _of_what_fails(self) -> None:
        self.takeovers = Counter(
            "okome_broker_takeovers_total",
            "Jobs taken over from a dead relay.",
            registry=self.registry,
        )
        self.log_flushes = Histogram(
            "okome_broker_log_flush_seconds",
            "From the beginning of a flush of the log until it was durable.",
            buckets=_FLUSH_BUCKETS,
            registry=self.registry,
        )
        self.log_flush_failures = Counter(
            "okome_broker_log_flush_failures_total",
            "Attempts at a flush of the log that were not answered, or not acknowledged.",
            registry=self.registry,
        )
        self.settlements_dropped = Counter(
            "okome_broker_settlements_dropped_total",
            "Settlements that were lost because the spool was full.",
            registry=self.registry,
        )
        self.settlements_unwritten = Counter(
            "okome_broker_settlements_unwritten_total",
            "Settlements that the disk did not take at once: kept in memory until it does.",
            registry=self.registry,
        )
        self.settlements_refused = Counter(
            "okome_broker_settlements_refused_total",
            "Settlements that the control plane refused for good.",
            registry=self.registry,
        )
        self.engine_moves = Counter(
            "okome_broker_engine_moves_total",
            "Answers that another engine went on with.",
            registry=self.registry,
        )

        self.engine_reports_dropped = Counter(
            "okome_broker_engine_reports_dropped_total",
            "Failures of engines that the control plane could not be told of in time.",
            registry=self.registry,
        )
        self.tool_calls = Counter(
            "okome_broker_tool_calls_total",
            "Calls of the policy's tools by jobs here, by what became of them.",
            ("outcome",),
            registry=self.registry,
        )
        self.engine_pauses = Counter(
            "okome_broker_engine_pauses_total",
            "Pauses of an engine's stream that outran the log, by whose limit it was.",
            ("limit",),
            registry=self.registry,
        )

    def _of_browsers(self) -> None:
        self.client_ttft = Histogram(
            "okome_client_time_to_first_token_seconds",
            "Time to first token as browsers measured it.",
            buckets=_TTFT_BUCKETS,
            registry=self.registry,
        )
        self.client_gap = Histogram(
            "okome_client_gap_seconds",
            "Gaps between chunks as browsers measured them.",
            buckets=_GAP_BUCKETS,
            registry=self.registry,
        )
        self.client_stalls = Counter(
            "okome_client_stalls_total", "Stalls that browsers saw.", registry=self.registry
        )
        self.client_reconnects = Counter(
            "okome_client_reconnects_total", "Reconnects of browsers.", registry=self.registry
        )

    def _of_embeddings(self) -> None:
        self.embedding_items = Histogram(
            "okome_broker_embedding_call_items",
            "Items of one call to an engine for embeddings, of one request or several.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.cache_lookups = Counter(
            "okome_broker_cache_lookups_total",
            "Items looked up in the hot cache: hit here, hit_shared, or miss.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self.cache_lookup_seconds = Histogram(
            "okome_broker_cache_lookup_seconds",
            "Looking up all items of a request.",
            ("kind",),
            buckets=_LOOKUP_BUCKETS,
            registry=self.registry,
        )
        self.cache_errors = Counter(
            "okome_broker_cache_errors_total",
            "Lookups and writes that the shared cache did not serve, by reason.",
            ("call", "reason"),
            registry=self.registry,
        )
        self.cache_written = Counter(
            "okome_broker_cache_written_bytes_total",
            "Bytes of values given to the hot cache.",
            ("kind",),
            registry=self.registry,
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when it is asked for."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def log_flushed(self, seconds: float, stored: bool) -> None:
        """Counts an attempt at a flush of the log."""
        if stored:
            self.log_flushes.observe(seconds)
        else:
            self.log_flush_failures.inc()

    def settlement_in_trouble(self, trouble: str) -> None:
        """Counts a settlement that was `dropped`, `unwritten` or `refused`."""
        counters = {
            "dropped": self.settlements_dropped,
            "unwritten": self.settlements_unwritten,
            "refused": self.settlements_refused,
        }
        counters[trouble].inc()

    def tool_called(self, outcome: str) -> None:
        """Counts a call of a tool: `ok`, `failed` or `unreachable`."""
        self.tool_calls.labels(outcome).inc()

    def engine_paused(self, limit: str) -> None:
        """Counts a pause of an engine."""
        self.engine_pauses.labels(limit).inc()

    def job_ended(self, event: str, kind: str, body: dict[str, Any]) -> None:
        """Counts a job by the data of its terminal event."""
        code = body.get("code") or body.get("reason") or body.get("finish_reason") or ""
        self.jobs.labels(kind, event, code).inc()
        usage = body["usage"]
        self.tokens.labels("prompt").inc(usage["prompt_tokens"])
        self.tokens.labels("completion").inc(usage["completion_tokens"])
        figures = body.get("metrics") or {}
        if figures.get("ttft_ms") is not None:
            self.ttft.observe(figures["ttft_ms"] / 1000)
        if figures.get("gap_p99_ms") is not None:
            self.gap_p99.observe(figures["gap_p99_ms"] / 1000)

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)
