"""`POST /chat`: one message in, a stream of tokens out, the conversation remembered."""

from __future__ import annotations

import os
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.bodies import ChatBody
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable
from stream_broker.offers import DEFAULT_NAME, offered
from stream_broker.requests import chat_spec, check, idempotency_key
from stream_broker.routes.reading import read_object
from stream_broker.serving import EventStream
from stream_broker.views.chat import ChatView


def chat_routes(context: Context) -> list[Route]:
    """The route of this file."""

    async def chat(request: Request) -> Response | ASGIApp:
        principal = await context.authenticate(request.headers, changes=True)
        key = idempotency_key(request.headers.get("idempotency-key"))
        body = await read_object(request, context.settings.body_max)
        conversation_id = check(body, ChatBody).conversation_id or _new_conversation()

        async def answer(job_id: str) -> str | None:
            return await _answer(context, principal, job_id)

        history = await context.conversations.history(principal.user_id, conversation_id, answer)
        spec = chat_spec(body, _default_model(context, principal), history, conversation_id)
        context.viewers.check_room()
        accepted = await context.acceptance.accept(principal, spec, key, "chat")
        job_id = accepted.state.head.job_id
        if not accepted.replayed:
            await context.conversations.begin(
                principal.user_id, conversation_id, spec.messages, job_id
            )

        find = partial(context.directory.watch, job_id, principal.user_id)
        watch = await find(0)
        head = watch.state.head
        return EventStream(
            job_id,
            watch,
            find,
            ChatView(head.conversation_id or conversation_id, head.created_at),
            context.viewers,
            cursor=0,
            heartbeat=context.settings.heartbeat,
            send_timeout=context.settings.send_timeout,
            node=context.node,
            resumable=False,
        )

    return [Route("/chat", chat, methods=["POST"])]


async def _answer(context: Context, principal: Principal, job_id: str) -> str | None:
    """What a job of this conversation answered, if it has come to its end."""
    try:
        state = await context.directory.state(job_id, principal.user_id)
        return await context.directory.text(state) if state.status == "completed" else None
    except (ProblemError, LogUnavailable):
        return None


def _default_model(context: Context, principal: Principal) -> str:
    """What answers where nobody names a model: `default`, else the first that there is."""
    snapshot = context.policy.snapshot
    names = offered(snapshot, principal.tier)
    if not names:
        raise ProblemError("no_engine", "No model is served")
    return DEFAULT_NAME if DEFAULT_NAME in names else next(iter(names))


def _new_conversation() -> str:
    return f"c-{os.urandom(12).hex()}"
