"""Spans on their way to a collector (OTLP over HTTP), by OpenTelemetry's own exporter."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from observability.traces import Span

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope("okome")
# What waits for a collector that is slow or away; more is left out, and the log says so.
_WAITING_MAX = 4096
_TIMEOUT_S = 5.0


class Otlp:
    """Sends from a thread of its own to `endpoint`, the whole URL (`…:4318/v1/traces`)."""

    def __init__(self, endpoint: str, service: str, node: str) -> None:
        self._resource = Resource({"service.name": service, "host.name": node})
        self._sender = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT_S), max_queue_size=_WAITING_MAX
        )

    def tell(self, spans: Iterable[Span]) -> None:
        """Never waits: the queue is bounded."""
        for span in spans:
            self._sender.on_end(self._readable(span))

    def close(self) -> None:
        """Sends what waits, for as long as one attempt takes, and ends the thread."""
        self._sender.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: Span) -> ReadableSpan:
        parent = _context(span.trace_id, span.parent_id) if span.parent_id else None
        status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[Event(name, timestamp=_ns(at)) for name, at in span.events.items()],
            kind=_KINDS[span.kind],
            status=status,
            start_time=_ns(span.start),
            end_time=_ns(span.end),
            instrumentation_scope=_SCOPE,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
