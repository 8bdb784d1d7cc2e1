"""`POST /v1/telemetry`: what a browser measured goes into histograms and nowhere else.

A browser may say anything: what no clock can have measured is refused by its field, a job
has to be the caller's own, and its first report counts. What became of each is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable
from stream_broker.metrics import BrokerMetrics
from stream_broker.requests import check
from stream_broker.routes.reading import read_object

# Of 4096 gaps each may take 16 bytes.
BODY_MAX: Final = 128 << 10
# Jobs whose report is remembered: more than end here while a page may still report one.
_JOBS_MAX: Final = 8192

Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Occurrences = Annotated[int, Meta(ge=0, le=100_000)]


class TelemetryBody(msgspec.Struct):
    """Times in milliseconds."""

    job_id: str
    ttft_ms: Milliseconds | None = None
    gaps_ms: Annotated[list[Milliseconds], Meta(max_length=4096)] = []
    stalls: Occurrences = 0
    reconnects: Occurrences = 0


def telemetry_routes(context: Context) -> list[Route]:
    """The route of this file."""
    heard: OrderedDict[str, None] = OrderedDict()
    most = min(BODY_MAX, context.settings.body_max) if context is not None else BODY_MAX

    async def take(request: Request) -> str:
        principal = await context.authenticate(request.headers, changes=True)
        told = check(await read_object(request, most), TelemetryBody)
        try:
            await context.directory.state(told.job_id, principal.user_id)
        except LogUnavailable as error:
            raise ProblemError("log_unavailable", "The job cannot be looked up now") from error
        if told.job_id in heard:
            return "repeated"
        heard[told.job_id] = None
        if len(heard) > _JOBS_MAX:
            heard.popitem(last=False)
        observe(context.metrics, told)
        return "taken"

    async def telemetry(request: Request) -> Response:
        outcome = "failed"
        try:
            outcome = await take(request)
        except ProblemError as problem:
            outcome = problem.code
            raise
        finally:
            context.metrics.client_reports.labels(outcome).inc()
        return Response(status_code=204)

    return [Route("/v1/telemetry", telemetry, methods=["POST"])]


def observe(metrics: BrokerMetrics, told: TelemetryBody) -> None:
    """Counts what one browser measured of one job."""
    if told.ttft_ms is not None:
        metrics.client_ttft.of().add(told.ttft_ms / 1000, told.job_id)
    for gap in told.gaps_ms:
        metrics.client_gap.of().add(gap / 1000)
    metrics.client_stalls.inc(told.stalls)
    metrics.client_reconnects.inc(told.reconnects)
