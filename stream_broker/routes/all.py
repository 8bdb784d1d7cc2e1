"""All routes of a broker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette

from stream_broker.context import Context
from stream_broker.routes.answers import exception_handlers
from stream_broker.routes.chat import chat_routes
from stream_broker.routes.embeddings import embedding_routes
from stream_broker.routes.jobs import job_routes
from stream_broker.routes.openai import openai_routes
from stream_broker.routes.site import site_routes
from stream_broker.routes.telemetry import telemetry_routes
from stream_broker.routes.tools import tool_routes
from stream_broker.routes.ws import ws_routes


def build_app(
    context: Context, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]
) -> Starlette:
    """The application over one broker's parts."""
    app = Starlette(
        routes=[
            *job_routes(context),
            *openai_routes(context),
            *embedding_routes(context),
            *chat_routes(context),
            *ws_routes(context),
            *tool_routes(context),
            *telemetry_routes(context),
            *site_routes(context),
        ],
        exception_handlers=exception_handlers(context),
        lifespan=lifespan,
    )
    # It would lead clients that came by TLS to a URL without it: only HAProxy knows.
    app.router.redirect_slashes = False
    return app
