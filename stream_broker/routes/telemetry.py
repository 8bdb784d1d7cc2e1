"""`POST /v1/telemetry`: what a browser measured goes into histograms and nowhere else."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_broker.context import Context
from stream_broker.requests import check
from stream_broker.routes.reading import read_object

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

    async def telemetry(request: Request) -> Response:
        await context.authenticate(request.headers, changes=True)
        told = check(await read_object(request, context.settings.body_max), TelemetryBody)
        metrics = context.metrics
        if told.ttft_ms is not None:
            metrics.client_ttft.observe(told.ttft_ms / 1000)
        for gap in told.gaps_ms:
            metrics.client_gap.observe(gap / 1000)
        metrics.client_stalls.inc(told.stalls)
        metrics.client_reconnects.inc(told.reconnects)
        return Response(status_code=204)

    return [Route("/v1/telemetry", telemetry, methods=["POST"])]
