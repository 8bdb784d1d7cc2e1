"""The page's real server before a scripted Prometheus, both on free ports of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from observability.dash.app import build_app
from tests.support.eventually import eventually_async


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Base URL of a running application."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False)
    config.timeout_graceful_shutdown = 1
    server, sock = _Server(config), config.bind_socket()
    running = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await eventually_async(lambda: server.started)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        sock.close()


@dataclass
class ScriptedPrometheus:
    """Answers every range with `value`; `mode` is how it misbehaves."""

    value: float = 0.2
    mode: str = "well"
    firing: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        """Prometheus' HTTP API, as far as the page asks it."""
        return Starlette(
            routes=[
                Route("/api/v1/query", self._now),
                Route("/api/v1/query_range", self._range),
                Route("/api/v1/alerts", self._alerts),
            ]
        )

    async def _now(self, _: Request) -> Response:
        if self.mode == "mute":
            await self.release.wait()
        if self.mode == "strange":
            return PlainTextResponse("<html>not what you think", 502)
        return JSONResponse({"status": "success", "data": {"resultType": "scalar", "result": []}})

    async def _range(self, request: Request) -> Response:
        params = dict(request.query_params)
        self.asked.append(params)
        if self.mode == "refusing":
            error = {"status": "error", "errorType": "bad_data", "error": "no <b>such</b> thing"}
            return JSONResponse(error, 400)
        start, end, step = (float(params[name]) for name in ("start", "end", "step"))
        count = round((end - start) / step) + 1
        values = [[start + i * step, str(self.value + 0.01 * (i % 5))] for i in range(count)]
        values[1][1] = "NaN"
        labels = {"node": "okome-node-03", "job": "okome-broker", "code": "<img src=x>"}
        result = [{"metric": labels, "values": values}]
        return JSONResponse(
            {"status": "success", "data": {"resultType": "matrix", "result": result}}
        )

    async def _alerts(self, _: Request) -> Response:
        return JSONResponse({"status": "success", "data": {"alerts": self.firing}})


def alert(name: str, severity: str, **more: Any) -> dict[str, Any]:
    """As Prometheus lists it."""
    return {
        "labels": {"alertname": name, "severity": severity, "node": "okome-node-04"},
        "annotations": {"summary": f"{name} is so.", "runbook_url": "docs/runbook.md"},
        "state": "firing",
        "activeAt": "2026-11-21T17:00:00Z",
    } | more


@contextlib.asynccontextmanager
async def dash(*prometheis: ScriptedPrometheus, away: bool = False) -> AsyncIterator[str]:
    """The page's URL. `away`: the first Prometheus that it asks is one that nobody runs."""
    async with contextlib.AsyncExitStack() as stack:
        urls = ["http://127.0.0.1:1"] if away else []
        urls += [await stack.enter_async_context(served(each.app())) for each in prometheis]
        yield await stack.enter_async_context(served(build_app("rice", urls, 5)))
