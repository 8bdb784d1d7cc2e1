"""`GET /v1/tools`: the policy's tools that a caller may ask for by name."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.policy import PolicySnapshot
from stream_broker.context import Context
from stream_broker.offers import offered
from stream_broker.routes.answers import json_response


def tool_routes(context: Context) -> list[Route]:
    """The route of this file."""

    async def tools(request: Request) -> Response:
        principal = await context.authenticate(request.headers, scope=None)
        data = tools_for(context.policy.snapshot, principal.tier)
        return json_response({"object": "list", "data": data})

    return [Route("/v1/tools", tools, methods=["GET"])]


def tools_for(policy: PolicySnapshot, tier: str) -> list[dict[str, Any]]:
    """Each tool that users of a tier may use, with the models, and their aliases, that it
    goes with."""
    models = offered(policy, tier)
    told = []
    for tool in policy.tools:
        function = tool["function"]
        named = [name for name, m in models.items() if function["name"] in m.server_tools]
        if named:
            told.append({**function, "models": named})
    return told
