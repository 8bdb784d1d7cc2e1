"""The broker's metrics: every name is here, and nothing is counted per token by a library.

What a token touches are plain numbers (`spread.py`), read when they are scraped. Labels are
bounded: kinds, codes, outcomes, and names of models and engines that a grant has brought;
never what a client wrote. Buckets of times follow the OpenTelemetry GenAI conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream_broker.measures import Delivery, Hearing, span
from stream_broker.spread import Names, Spreads

_TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2, 2.5, 5, 7.5, 10, 30,
)  # fmt: skip
GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.5, 1, 5)
# The hops, around their budgets (CONTRACT): 2, 5, 50 and 100 ms.
_HOP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_FLUSH_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.03, 0.1, 0.3, 1, 3, 10, 30)
# Refusals for which nobody but us is to blame.
_OURS = ("no_engine", "overloaded", "control_plane_unavailable", "log_unavailable", "internal")
_HOLD_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.11, 0.15, 0.25, 1)
_TAKEOVER_BUCKETS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 10, 30)
_LOOKUP_BUCKETS = (0.00002, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.01, 0.1)


class BrokerMetrics:
    """One registry per process. `model_of`: a model's name in the policy for any name of it."""

    def __init__(self, model_of: Callable[[str], str] = str) -> None:
        self.registry = CollectorRegistry()
        self._model_of = model_of
        self._models, self._engines = Names(), Names()
        self._of_jobs()
        self._of_engines()
        self._of_viewers()
        self._of_the_log()
        self._of_the_control_plane()
        self._of_browsers()
        self._of_embeddings()
        self._of_the_process()

    def _of_jobs(self) -> None:
        self.jobs = self._counter(
            "jobs", "Jobs that ended.", "kind", "event", "code", "model"
        )  # fmt: skip
        self.tokens = self._counter("tokens", "Tokens of ended jobs.", "direction", "model")
        self.ttft = self._spreads(
            "time_to_first_token_seconds",
            "From the acceptance of a job to its first token or reasoning event.",
            _TTFT_BUCKETS,
            "model",
        )
        self.gap_p99 = self._histogram(
            "job_gap_p99_seconds",
            "p99 of the gaps between the chunks of a job, as the engine sent them.",
            GAP_BUCKETS,
        )
        self.accepted = self._histogram(
            "accept_seconds",
            "From a request for a job to its acceptance or refusal.",
            _HOP_BUCKETS,
            "outcome",
        )
        # A series that begins with its first failure hides this one from every rate.
        for outcome in ("accepted", *_OURS):
            self.accepted.labels(outcome)
        self.requests_refused = self._counter(
            "requests_refused", "Requests answered with a problem, by code.", "code"
        )
        self.takeovers = self._counter("takeovers", "Jobs taken over from a dead relay.")
        self.takeover_seconds = self._histogram(
            "takeover_seconds",
            "From the end of a dead relay's lease to the relay here.",
            _TAKEOVER_BUCKETS,
        )
        self.tool_calls = self._counter(
            "tool_calls", "Calls of the policy's tools by jobs here.", "outcome"
        )

    def _of_engines(self) -> None:
        self.engine_ttft = self._spreads(
            "engine_time_to_first_token_seconds",
            "From asking an engine to the first that it said.",
            _TTFT_BUCKETS,
            "engine",
            "model",
        )
        self.engine_gaps = self._spreads(
            "engine_gap_seconds",
            "Between the chunks of an answer, as an engine sent them.",
            GAP_BUCKETS,
            "engine",
            "model",
        )
        self.engine_aborts = self._histogram(
            "engine_abort_seconds",
            "From the order to stop to the close of the engine's connection.",
            _HOP_BUCKETS,
        )
        self.engine_moves = self._counter(
            "engine_moves", "Answers that another engine went on with."
        )
        self.engine_reports_dropped = self._counter(
            "engine_reports_dropped", "Failures of engines that could not be told in time."
        )
        self.engine_pauses = self._counter(
            "engine_pauses", "Pauses of an engine's stream that outran the log.", "limit"
        )

    def _of_viewers(self) -> None:
        self.delivered_ttft = self._spreads(
            "delivered_time_to_first_token_seconds",
            "From the acceptance of a job to its first text on a viewer's connection.",
            _TTFT_BUCKETS,
            "model",
        )
        self.delivered_gaps = self._spreads(
            "delivered_gap_seconds",
            "Between the frames of text on a viewer's connection.",
            GAP_BUCKETS,
            "model",
        )
        self.pacer_holds = self._spreads(
            "pacer_hold_seconds",
            "How long the oldest token of a write was held by the pacer.",
            _HOLD_BUCKETS,
        )
        self.viewers_closed = self._counter(
            "viewers_closed", "Viewer connections that ended, by reason.", "reason"
        )
        self.viewers_closed.labels("send_timeout")
        self.resumes = self._counter(
            "resumes", "Requests to go on behind a cursor.", "relay", "outcome"
        )
        self.replayed = self._counter(
            "resumes_replayed_events", "Events that a resuming viewer had missed."
        )

    def _of_the_log(self) -> None:
        self.log_flushes = self._histogram(
            "log_flush_seconds",
            "From the beginning of a flush of the log until it was durable.",
            _FLUSH_BUCKETS,
        )
        self.durable = self._histogram(
            "time_to_durable_seconds",
            "From the arrival of the oldest event of a flush until it was durable.",
            _FLUSH_BUCKETS,
        )
        self.overhead = self._histogram(
            "overhead_seconds",
            "What a flush's oldest event waited for this process itself.",
            _FLUSH_BUCKETS,
        )
        self.log_flush_failures = self._counter(
            "log_flush_failures", "Attempts at a flush not answered, or not acknowledged."
        )

    def _of_the_control_plane(self) -> None:
        self.grants = self._histogram(
            "grant_seconds",
            "From asking for a grant to the answer, or to going on alone.",
            _HOP_BUCKETS,
            "outcome",
        )
        self.settlements_dropped = self._counter(
            "settlements_dropped", "Settlements that were lost because the spool was full."
        )
        self.settlements_unwritten = self._counter(
            "settlements_unwritten", "Settlements that the disk did not take at once."
        )
        self.settlements_refused = self._counter(
            "settlements_refused", "Settlements that the control plane refused for good."
        )

    def _of_browsers(self) -> None:
        self.client_ttft = Spreads(
            "okome_client_time_to_first_token_seconds",
            "Time to first token as browsers measured it.",
            _TTFT_BUCKETS,
        )
        self.client_gap = Spreads(
            "okome_client_gap_seconds",
            "Gaps between chunks as browsers measured them.",
            GAP_BUCKETS,
        )
        self.registry.register(self.client_ttft)
        self.registry.register(self.client_gap)
        self.client_stalls = Counter(
            "okome_client_stalls", "Stalls that browsers saw.", registry=self.registry
        )
        self.client_reconnects = Counter(
            "okome_client_reconnects", "Reconnects of browsers.", registry=self.registry
        )
        self.client_reports = Counter(
            "okome_client_reports",
            "Reports of browsers, by what became of them.",
            ("outcome",),
            registry=self.registry,
        )

    def _of_embeddings(self) -> None:
        self.embedding_items = self._histogram(
            "embedding_call_items",
            "Items of one call to an engine for embeddings, of one request or several.",
            (1, 2, 4, 8, 16, 32),
        )
        self.cache_lookups = self._counter(
            "cache_lookups", "Items looked up in the hot cache.", "kind", "outcome"
        )
        self.cache_lookup_seconds = self._histogram(
            "cache_lookup_seconds", "Looking up all items of a request.", _LOOKUP_BUCKETS, "kind"
        )
        self.cache_errors = self._counter(
            "cache_errors", "What the shared cache did not serve.", "call", "reason"
        )
        self.cache_written = self._counter(
            "cache_written_bytes", "Bytes of values given to the hot cache.", "kind"
        )

    def _of_the_process(self) -> None:
        self.loop_lag = self._histogram(
            "loop_lag_seconds", "How late a timer of this process was.", _HOP_BUCKETS
        )
        ProcessCollector(registry=self.registry)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when it is asked for."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def total(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A counter, `name` without its `_total`, whose value is read when it is asked for."""
        self.registry.register(_Total(name, help_text, read))

    def hearing(self, engine: str, model: str, job_id: str) -> Hearing:
        """What is measured of one call to an engine; `engine` is of its grant."""
        labels = self._engines.of(engine), self._model(model)
        return Hearing(self.engine_gaps.of(*labels), job_id, self.engine_ttft.of(*labels).add)

    def delivery(
        self, job_id: str, model: str, began: float | None, clock: Callable[[], float]
    ) -> Delivery:
        """What is measured of one viewer. `began`: Unix time of its job's acceptance where the
        viewer is there before the first text; `clock` gives Unix seconds."""
        label = self._model(model)
        first = None
        if began is not None:
            first = partial(self._delivered_first, label, job_id, began, clock)
        return Delivery(self.delivered_gaps.of(label), job_id, first)

    def _delivered_first(
        self, label: str, job_id: str, began: float, clock: Callable[[], float]
    ) -> None:
        seconds = span(began, clock())
        if seconds is not None:
            self.delivered_ttft.of(label).add(seconds, job_id)

    def was_accepted(self, outcome: str, seconds: float) -> None:
        """Counts a request for a job: `accepted`, `replayed`, `left` or a code."""
        self.accepted.labels(outcome).observe(seconds)

    def was_granted(self, outcome: str, seconds: float) -> None:
        """Counts a question for a grant: `ok`, `alone`, `left` or a code."""
        self.grants.labels(outcome).observe(seconds)

    def log_flushed(self, seconds: float, stored: bool) -> None:
        """Counts an attempt at a flush of the log."""
        if stored:
            self.log_flushes.observe(seconds)
        else:
            self.log_flush_failures.inc()

    def log_shown(self, durable: float, own: float) -> None:
        """Of a flush's oldest event: seconds until it was durable, and of those and the time
        until all viewers had it, how many were spent in this process."""
        self.durable.observe(durable)
        self.overhead.observe(own)

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

    def resumed(self, relay: str, outcome: str, replayed: int = 0) -> None:
        """Counts a viewer that came back; `relay`: of its job, `here` or `elsewhere`."""
        self.resumes.labels(relay, outcome).inc()
        self.replayed.inc(replayed)

    def job_ended(
        self, event: str, kind: str, model: str, body: dict[str, Any], job_id: str | None = None
    ) -> None:
        """Counts a job by the data of its terminal event."""
        code = body.get("code") or body.get("reason") or body.get("finish_reason") or ""
        label = self._model(model)
        self.jobs.labels(kind, event, code, label).inc()
        usage = body["usage"]
        for direction in ("prompt", "completion", "cached"):
            self.tokens.labels(direction, label).inc(usage[f"{direction}_tokens"])
        figures = body.get("metrics") or {}
        if figures.get("ttft_ms") is not None:
            self.ttft.of(label).add(max(0.0, figures["ttft_ms"] / 1000), job_id)
        if figures.get("gap_p99_ms") is not None:
            self.gap_p99.observe(figures["gap_p99_ms"] / 1000)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """What a scrape with this `Accept` is given, and its media type.

        Exemplars are in OpenMetrics only, which a Prometheus asks for.
        """
        encode, media = choose_encoder(accept)
        return encode(self.registry), media

    def _model(self, name: str) -> str:
        return self._models.of(self._model_of(name))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"okome_broker_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        full = f"okome_broker_{name}"
        return Histogram(full, text, labels, buckets=buckets, registry=self.registry)

    def _spreads(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Spreads:
        spreads = Spreads(f"okome_broker_{name}", text, buckets, labels)
        self.registry.register(spreads)
        return spreads


class _Total(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._family = partial(CounterMetricFamily, name, text)
        self._read = read

    def describe(self) -> Iterable[CounterMetricFamily]:
        yield self._family()

    def collect(self) -> Iterable[CounterMetricFamily]:
        yield self._family(value=self._read())
