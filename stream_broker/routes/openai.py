"""The OpenAI API: chat completions (streamed, whole, resumed) and models."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.policy import PolicyModel
from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.context import Context
from stream_broker.feed import LogExpired
from stream_broker.gathering import Gathering
from stream_broker.log.base import LogUnavailable
from stream_broker.offers import offered
from stream_broker.record import JobState
from stream_broker.requests import completion_spec, idempotency_key
from stream_broker.resuming import watched
from stream_broker.routes.answers import json_response
from stream_broker.routes.reading import cursor_of, read_object, wants_events
from stream_broker.serving import EventStream
from stream_broker.views.openai import OpenAIView, completion, error_object
from stream_broker.watch import Watch

_STATUS_OF_ERROR = {
    "context_too_long": 400,
    "log_unavailable": 503,
    "engine_unreachable": 503,
    "overloaded": 503,
}


def openai_routes(context: Context) -> list[Route]:
    """The routes of this file."""

    async def create(request: Request) -> Response | ASGIApp:
        principal = await context.authenticate(request.headers, changes=True)
        key = idempotency_key(request.headers.get("idempotency-key"))
        body = await read_object(request, context.settings.body_max)
        spec = completion_spec(body, context.settings.max_tokens)
        context.viewers.check_room()
        accepted = await context.acceptance.accept(principal, spec, key, "chat_completions")
        job_id = accepted.state.head.job_id
        if spec.stream:
            return await _stream(context, principal, job_id, 0)
        return await _whole(context, principal, job_id, request, keep=key is not None)

    async def resume(request: Request) -> Response | ASGIApp:
        principal = await context.authenticate(request.headers)
        job_id = request.path_params["job_id"]
        if wants_events(request):
            context.viewers.check_room()
            return await _stream(context, principal, job_id, cursor_of(request))
        state = await context.directory.state(job_id, principal.user_id)
        if state.end_name is None:
            raise ProblemError(
                "invalid_request",
                "The completion is not finished; ask for text/event-stream",
                field="Accept",
            )

        async def find(at: int) -> Watch:
            return await context.directory.watch(job_id, principal.user_id, at)

        return await _collected(context, state, Gathering(await find(0), find))

    async def models(request: Request) -> Response:
        principal = await context.authenticate(request.headers, scope=None)
        names = offered(context.policy.snapshot, principal.tier)
        data = [_model_object(name, model) for name, model in names.items()]
        return json_response({"object": "list", "data": data})

    async def model(request: Request) -> Response:
        principal = await context.authenticate(request.headers, scope=None)
        name = request.path_params["model"]
        found = offered(context.policy.snapshot, principal.tier).get(name)
        if found is None:
            raise ProblemError("unknown_model", "No such model", field="model")
        return json_response(_model_object(name, found))

    return [
        Route("/v1/chat/completions", create, methods=["POST"]),
        Route("/v1/chat/completions/{job_id}", resume, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", model, methods=["GET"]),
    ]


def _model_object(name: str, model: PolicyModel) -> dict[str, Any]:
    """OpenAI's object, by the name that a client may ask for."""
    return {"id": name, "object": "model", "created": model.created, "owned_by": "okome"}


async def _stream(
    context: Context, principal: Principal, job_id: str, cursor: int
) -> Response | ASGIApp:
    find = partial(context.directory.watch, job_id, principal.user_id)
    watch = await watched(context, job_id, principal.user_id, cursor)
    if cursor and watch.over:
        watch.close()
        return Response(status_code=204)
    return EventStream(
        job_id,
        watch,
        find,
        OpenAIView(watch.state.head, cursor),
        context.viewers,
        cursor=cursor,
        heartbeat=context.settings.heartbeat,
        send_timeout=context.settings.send_timeout,
        node=context.node,
        resumable=False,
    )


async def _whole(
    context: Context, principal: Principal, job_id: str, request: Request, *, keep: bool
) -> Response:
    """Waits for the end. A caller that leaves cancels, unless it can come back (`keep`)."""

    async def find(at: int) -> Watch:
        return await context.directory.watch(job_id, principal.user_id, at)

    watch = await find(0)
    gathering = Gathering(watch, find)
    leaving = asyncio.get_running_loop().create_task(_until_gone(request, gathering))
    try:
        return await _collected(context, watch.state, gathering)
    finally:
        leaving.cancel()
        if gathering.gone and not keep:
            await context.directory.cancel(watch.state)


async def _until_gone(request: Request, gathering: Gathering) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gathering.leave()


async def _collected(context: Context, state: JobState, gathering: Gathering) -> Response:
    """The whole log as one completion, or the error that ended it."""
    head = state.head
    try:
        events = await gathering.events()
    except (LogUnavailable, LogExpired) as error:
        raise ProblemError("log_unavailable", "The log of this job is away") from error
    last = events[-1] if events else None
    if last is None or not last.terminal:
        raise ProblemError("log_unavailable", "The job went on elsewhere; ask for it again")
    headers = {"X-Okome-Job-Id": head.job_id, "X-Okome-Node": context.node}
    if last.name == "job_complete":
        state = msgspec.structs.replace(state, end=last.body())
        return json_response(completion(state, events), 200, headers)
    told = error_object(last)
    if told["code"] == "engine_error" and told["type"] == "invalid_request_error":
        # The engine's word for it: the same request would be refused again.
        return json_response({"error": told}, 400, headers)
    status = _STATUS_OF_ERROR.get(told["code"], 499 if last.name == "job_cancelled" else 502)
    if status == 503:
        headers["Retry-After"] = "1"
    body: dict[str, Any] = {"error": told}
    return json_response(body, status, headers)
