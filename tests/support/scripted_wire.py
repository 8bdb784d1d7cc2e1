"""A server with the page and the wire on loopback; a test writes down all its misfortunes.

No broker: it holds one list of events per job and sends what a script says, so that cuts, silence
and refusals come at an exact byte. What a real broker does is tested against a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.support.scripted_account import Conversations, quota
from tests.support.scripted_log import Connection, Cut, Job, Streaming

PAGE = Path(__file__).parents[2] / "stream_broker" / "page"
CSP = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SCRIPT = "text/javascript"
MEDIA_TYPES = {"js": SCRIPT, "mjs": SCRIPT, "css": "text/css", "svg": "image/svg+xml"}
MODELS = ["rice-small", "rice-large"]


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    cursor: int = 0
    key: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    method: str = ""


class ScriptedWire:
    """The server. `connections` and `sends` are scripts for the next requests, used up in order."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, Job] = {}
        self.connections: deque[Connection] = deque()
        self.sends: deque[Response] = deque()
        """Answers to the next `POST /v1/jobs` in place of 202."""
        self.lose_sends = 0
        """So many `POST /v1/jobs` are obeyed, but their answer is lost."""
        self.seen: list[Seen] = []
        self.arrived = asyncio.Condition()
        self.signed_in = True
        self.control_plane = True
        self.api_key = "ok_right"
        self.oidc: str | None = None
        self.password = ("rin", "a good password")
        self.user = "rin"
        self.expires_at: float | None = None
        self.renewable = False
        """Whether `POST /auth/refresh` prolongs a sign-in."""
        self.conversations = Conversations()
        self.quota = quota()
        self.enter_token = "token-1"
        self.expired: set[str] = set()
        self.models = MODELS
        self.tools: list[dict[str, Any]] = []
        self.url = ""

    def of(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    async def request(self, path: str, count: int = 1) -> Seen:
        """The `count`-th request of `path`, once it is there."""
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.of(path)) >= count)
        return self.of(path)[count - 1]

    async def job(self, number: int = 1) -> Job:
        """The `number`-th job that was made."""
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.jobs) >= number)
        return list(self.jobs.values())[number - 1]

    async def _note(self, request: Request, **more: Any) -> None:
        async with self.arrived:
            query, headers = dict(request.query_params), dict(request.headers)
            self.seen.append(Seen(request.url.path, query=query, headers=headers, **more))
            self.arrived.notify_all()

    async def _create(self, request: Request) -> Response | Lost:
        key = request.headers.get("idempotency-key", "").strip('"')
        body = await request.json()
        answer = self.sends.popleft() if self.sends else None
        if answer is None and key not in self.keys:
            job_id = f"n03w0-{len(self.jobs) + 1:026d}"
            self.jobs[job_id] = self.keys[key] = Job(job_id)
        await self._note(request, key=key, body=body)
        if not self.signed_in:
            return problem(401, "unauthenticated")
        if answer is not None:
            return answer
        if self.lose_sends:
            self.lose_sends -= 1
            return Lost()
        job_id = self.keys[key].job_id
        made = {
            "job_id": job_id,
            "stream_url": f"/v1/stream?job_id={job_id}",
            "status": "queued",
            "created_at": 0,
        }
        return JSONResponse(made, 202)

    async def _stream(self, request: Request) -> Response | Streaming:
        cursor = int(
            request.headers.get("last-event-id") or request.query_params.get("cursor") or 0
        )
        await self._note(request, cursor=cursor)
        if not self.signed_in:
            return problem(401, "unauthenticated")
        job = self.jobs.get(request.query_params["job_id"])
        script = self.connections.popleft() if self.connections else Connection()
        if script.status != 200:
            return problem(script.status, script.code, script.headers)
        if job is None:
            return problem(404, "unknown_job")
        if job.job_id in self.expired:
            return problem(410, "log_expired")
        if job.ended and cursor >= len(job.events):
            return Response(status_code=204)
        return Streaming(job, script, cursor, int(request.query_params.get("heartbeat", "15")))

    async def _record(self, request: Request) -> Response:
        await self._note(request)
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return problem(404, "unknown_job")
        text = None if job.job_id in self.expired else job.text
        status = "completed" if job.ended else "running"
        return JSONResponse(
            {
                "job_id": job.job_id,
                "status": status,
                "last_seq": len(job.events),
                "text": text,
                "finish_reason": "stop",
                "usage": None,
                "error": None,
            }
        )

    async def _cancel(self, request: Request) -> Response:
        await self._note(request)
        job = self.jobs[request.path_params["job_id"]]
        await job.cancel()
        return JSONResponse({"status": "running"}, 202)

    async def _models(self, request: Request) -> Response:
        await self._note(request)
        if not self.signed_in:
            return problem(401, "unauthenticated")
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        )

    async def _tools(self, request: Request) -> Response:
        await self._note(request)
        if not self.signed_in:
            return problem(401, "unauthenticated")
        return JSONResponse({"object": "list", "data": self.tools})

    async def _telemetry(self, request: Request) -> Response:
        await self._note(request, body=await request.json())
        return Response(status_code=204)

    async def _enter(self, request: Request) -> Response:
        body = await request.json()
        await self._note(request, body=body)
        if body["token"] != self.enter_token:
            return problem(401, "unauthenticated")
        self.signed_in = True
        return Response(status_code=204)

    async def _enter_for_long(self, request: Request) -> Response:
        if self.control_plane:
            return await self._enter(request)
        await self._note(request)
        return problem(503, "control_plane_unavailable", {"Retry-After": "1"})

    async def _options(self, request: Request) -> Response:
        await self._note(request)
        if not self.control_plane:
            return problem(503, "control_plane_unavailable", {"Retry-After": "1"})
        return JSONResponse({"oidc": self.oidc})

    async def _login(self, request: Request) -> Response:
        body = await request.json()
        await self._note(request, body=body)
        if not self.control_plane:
            return problem(503, "control_plane_unavailable", {"Retry-After": "1"})
        by_password = (body.get("name"), body.get("password")) == self.password
        if body.get("api_key") != self.api_key and not by_password:
            return problem(401, "unauthenticated")
        self.signed_in = True
        return JSONResponse({"user_id": self.user, "expires_at": self.expires_at})

    async def _refresh(self, request: Request) -> Response:
        await self._note(request)
        if not self.renewable:
            return problem(401, "unauthenticated")
        self.signed_in = True
        return Response(status_code=204)

    def _account(self, request: Request) -> Response | None:
        """What keeps the control plane from answering."""
        if not self.control_plane:
            return problem(503, "control_plane_unavailable", {"Retry-After": "1"})
        return None if self.signed_in else problem(401, "unauthenticated")

    async def _session(self, request: Request) -> Response:
        await self._note(request)
        who = {"user_id": self.user, "expires_at": self.expires_at, "method": "session"}
        return self._account(request) or JSONResponse(who)

    async def _quota(self, request: Request) -> Response:
        await self._note(request)
        return self._account(request) or JSONResponse(self.quota)

    async def _sessions(self, request: Request) -> Response:
        await self._note(request)
        query = request.query_params
        page = int(query.get("limit", "50")), query.get("before")
        return self._account(request) or self.conversations.listed(*page)

    async def _conversation(self, request: Request) -> Response:
        body = await request.json() if request.method == "PATCH" else {}
        await self._note(request, body=body, method=request.method)
        session = request.path_params["session"]
        if (refused := self._account(request)) is not None:
            return refused
        if session not in self.conversations:
            return problem(404, "not_found")
        if request.method != "GET":
            return self.conversations.change(request.method, session, body)
        query = request.query_params
        return self.conversations.read(session, int(query["limit"]), query.get("before"))

    async def _logout(self, request: Request) -> Response:
        body = await request.body()
        await self._note(request, body=json.loads(body) if body else {})
        if not self.control_plane:
            return problem(503, "control_plane_unavailable", {"Retry-After": "1"})
        self.signed_in = False
        return Response(status_code=204)

    def app(self) -> Starlette:
        async def page(_: Request) -> Response:
            headers = {"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer"}
            return HTMLResponse(read("index.html"), headers=headers)

        async def asset(request: Request) -> Response:
            path = request.path_params["path"]
            return Response(read(path), media_type=MEDIA_TYPES[path.rpartition(".")[2]])

        return Starlette(
            routes=[
                Route("/", page),
                Route("/v1/jobs", self._create, methods=["POST"]),
                Route("/v1/jobs/{job_id}", self._record),
                Route("/v1/jobs/{job_id}/cancel", self._cancel, methods=["POST"]),
                Route("/v1/stream", self._stream),
                Route("/v1/models", self._models),
                Route("/v1/tools", self._tools),
                Route("/v1/telemetry", self._telemetry, methods=["POST"]),
                Route("/v1/enter", self._enter, methods=["POST"]),
                Route("/auth/enter", self._enter_for_long, methods=["POST"]),
                Route("/auth/options", self._options),
                Route("/auth/login", self._login, methods=["POST"]),
                Route("/auth/logout", self._logout, methods=["POST"]),
                Route("/auth/refresh", self._refresh, methods=["POST"]),
                Route("/auth/session", self._session),
                Route("/v1/quota", self._quota),
                Route("/v1/sessions", self._sessions),
                Route(
                    "/v1/sessions/{session}",
                    self._conversation,
                    methods=["GET", "PATCH", "DELETE"],
                ),
                Route("/static/{path:path}", asset),
            ]
        )


@functools.cache
def read(path: str) -> bytes:
    """A file of the page. Every test loads all of them, so they stay in memory."""
    return (PAGE / path).read_bytes()


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    body = {
        "type": "about:blank",
        "title": code,
        "status": status,
        "detail": f"Told by the script: {code}.",
        "code": code,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


class Lost:
    """An answer whose connection breaks before it arrives."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"100")]}
        )
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise Cut


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run


@contextlib.asynccontextmanager
async def scripted_wire() -> AsyncIterator[ScriptedWire]:
    """A running server on a free port of 127.0.0.1."""
    wire = ScriptedWire()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        wire.app(),
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    sock = config.bind_socket()
    wire.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    running = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield wire
    finally:
        server.should_exit = True
        await running
        sock.close()
