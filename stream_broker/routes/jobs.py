"""`/v1/jobs` and `/v1/stream`: the native API."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable
from stream_broker.record import JobState
from stream_broker.requests import idempotency_key, job_spec
from stream_broker.resuming import watched
from stream_broker.routes.answers import json_response
from stream_broker.routes.reading import cursor_of, heartbeat_of, read_object
from stream_broker.serving import EventStream
from stream_broker.views.native import NativeView
from stream_broker.watch import Watch


def job_routes(context: Context) -> list[Route]:
    """The routes of this file."""

    async def create(request: Request) -> Response:
        principal = await context.authenticate(request.headers, changes=True)
        key = idempotency_key(request.headers.get("idempotency-key"))
        body = await read_object(request, context.settings.body_max)
        spec = job_spec(body, context.settings.max_tokens)
        accepted = await context.acceptance.accept(principal, spec, key, "jobs")
        created = _created(accepted.state)
        location = {"Location": f"/v1/jobs/{created['job_id']}"}
        return json_response(created, 200 if accepted.replayed else 202, location)

    async def read(request: Request) -> Response:
        principal = await context.authenticate(request.headers)
        job_id = request.path_params["job_id"]
        state = await context.directory.state(job_id, principal.user_id)
        return json_response(state.public(await context.directory.text(state)))

    async def cancel(request: Request) -> Response:
        principal = await context.authenticate(request.headers, changes=True)
        job_id = request.path_params["job_id"]
        state = await context.directory.state(job_id, principal.user_id)
        await context.directory.cancel(state)
        return json_response({"job_id": job_id, "status": state.status}, 202)

    async def stream(request: Request) -> Response | ASGIApp:
        principal = await context.authenticate(request.headers)
        return await _stream(context, principal, request)

    return [
        Route("/v1/jobs", create, methods=["POST"]),
        Route("/v1/jobs/{job_id}", read, methods=["GET"]),
        Route("/v1/jobs/{job_id}/cancel", cancel, methods=["POST"]),
        Route("/v1/stream", stream, methods=["GET"]),
    ]


async def _stream(context: Context, principal: Principal, request: Request) -> Response | ASGIApp:
    job_id = request.query_params.get("job_id")
    if not job_id:
        raise ProblemError("invalid_request", "Name a job", field="job_id")
    cursor = cursor_of(request)
    heartbeat = heartbeat_of(request, context.settings.heartbeat)
    context.viewers.check_room()

    find = partial(context.directory.watch, job_id, principal.user_id)
    watch: Watch | None
    try:
        watch = await watched(context, job_id, principal.user_id, cursor)
    except LogUnavailable:
        watch = None
    if watch is not None and watch.over:
        watch.close()
        return Response(status_code=204)
    return EventStream(
        job_id,
        watch,
        find,
        NativeView(),
        context.viewers,
        cursor=cursor,
        heartbeat=heartbeat,
        send_timeout=context.settings.send_timeout,
        node=context.node,
        resumable=watch is None or watch.state.head.durability != "none",
    )


def _created(state: JobState) -> dict[str, Any]:
    job_id = state.head.job_id
    return {
        "job_id": job_id,
        "stream_url": f"/v1/stream?job_id={job_id}",
        "status": state.status,
        "created_at": state.head.created_at,
    }
