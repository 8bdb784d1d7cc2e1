"""`POST /v1/embeddings`, as the OpenAI API has it."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_broker.context import Context
from stream_broker.embeddings.request import Encoding, embedding_spec
from stream_broker.embeddings.service import Embedded
from stream_broker.embeddings.vectors import encoded
from stream_broker.embeddings.wire import EngineFailed
from stream_broker.routes.answers import json_response
from stream_broker.routes.reading import read_object
from stream_broker.tasks import end

# After so many items others have their turn: a thousand take a tenth of a second.
_ITEMS_A_TURN = 8


def embedding_routes(context: Context) -> list[Route]:
    """The route of this file."""

    async def create(request: Request) -> Response:
        principal = await context.authenticate(request.headers, changes=True)
        spec = embedding_spec(await read_object(request, context.settings.body_max))
        loop = asyncio.get_running_loop()
        work = loop.create_task(context.embedder.embed(principal, spec))
        leaving = loop.create_task(_gone(request))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return Response(status_code=499)
            return await _answer(work.result(), spec.encoding, context.node)
        except EngineFailed as failed:
            return _failed(failed, context.node)
        finally:
            await end({work, leaving})

    return [Route("/v1/embeddings", create, methods=["POST"])]


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(embedded: Embedded, encoding: Encoding, node: str) -> Response:
    entries = []
    for index, vector in enumerate(embedded.vectors):
        entries.append(encoded(index, vector, encoding))
        if index % _ITEMS_A_TURN == _ITEMS_A_TURN - 1:
            await asyncio.sleep(0)
    usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    rest = msgspec.json.encode({"model": embedded.model, "usage": usage})[1:]
    body = b'{"object":"list","data":[%b],%b' % (b",".join(entries), rest)
    headers = {"Cache-Control": "no-store", "X-Okome-Node": node}
    return Response(body, 200, headers, "application/json")


def _failed(failed: EngineFailed, node: str) -> Response:
    """What an answer of the same API says when a job has failed."""
    failure = failed.failure
    error = {
        "message": failure.message,
        "type": "server_error",
        "param": None,
        "code": failure.code,
    }
    headers = {"X-Okome-Node": node}
    if failure.code == "engine_unreachable":
        return json_response({"error": error}, 503, headers | {"Retry-After": "1"})
    return json_response({"error": error}, 502, headers)
