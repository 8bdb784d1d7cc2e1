"""`GET /v1/ws`: many jobs on one connection.

Here are the operations; what is written, and when, is the multiplex's. Replies wait in a
bounded queue, and while it is full the client's next message is not read.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from contracts.problems import ProblemError
from stream_broker.authn import Principal, credential_of, same_origin
from stream_broker.connection import EXTENSION, LINGER_S, SocketConnection
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable
from stream_broker.multiplex import Multiplex
from stream_broker.requests import decode_object, idempotency_key, job_spec, whole_number
from stream_broker.resuming import watched
from stream_broker.routes.answers import problem_response
from stream_broker.tasks import end
from stream_broker.watch import Watch

SUBPROTOCOL = "okome.v1"
JOBS_MAX = 32
# What a client's own names may take in a reply: replies are queued by number.
NAMES_MAX = 1024
CLOSE_SLOW = 4008
CLOSE_DRAINING = 1012

_encode = msgspec.json.encode


def ws_routes(context: Context) -> list[BaseRoute]:
    """The route of this file, and what is told who does not ask for a WebSocket."""

    async def endpoint(socket: WebSocket) -> None:
        try:
            principal = await _admit(context, socket)
        except ProblemError as problem:
            limit = context.settings.streams_per_user
            await socket.send_denial_response(problem_response(problem, "/v1/ws", limit))
            return
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        await Connection(context, socket, principal).serve()

    async def no_socket(_: Request) -> Response:
        raise ProblemError(
            "upgrade_required",
            "Ask for a WebSocket here",
            # RFC 9110, section 15.5.22.
            fields={"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    return [WebSocketRoute("/v1/ws", endpoint), Route("/v1/ws", no_socket, methods=["GET"])]


async def _admit(context: Context, socket: WebSocket) -> Principal:
    if context.acceptance.draining:
        raise ProblemError("draining", "This broker is draining; come back")
    context.viewers.check_room()
    credential = credential_of(socket.headers)
    if credential is not None and credential.by_cookie and not same_origin(socket.headers):
        raise ProblemError("origin_not_allowed", "Origin must be the host that is asked")
    return await context.authenticate(socket.headers)


class Connection:
    """One WebSocket: a reader of operations, and a multiplex that writes."""

    def __init__(self, context: Context, socket: WebSocket, principal: Principal) -> None:
        self._context = context
        self._socket = socket
        self._principal = principal
        self._connection: SocketConnection = socket.scope["extensions"][EXTENSION]
        self._jobs = Multiplex(
            self._connection,
            self._find,
            context.settings.send_timeout,
            context.viewers.delivery,
        )

    async def serve(self) -> None:
        """Serves until either side ends the connection."""
        self._context.viewers.add(self._jobs)
        self._connection.taker = self._jobs
        reading = asyncio.get_running_loop().create_task(self._read())
        writing = asyncio.get_running_loop().create_task(self._jobs.run())
        reason = "gone"
        try:
            done, _ = await asyncio.wait({reading, writing}, return_when="FIRST_COMPLETED")
            reason = next(iter(done)).result()
            self._context.viewers.closed(reason)
        finally:
            self._connection.taker = None
            try:
                await end([reading, writing])
                self._jobs.close()
                # A draining broker waits for the close too.
                await self._close(reason)
            finally:
                self._context.viewers.remove(self._jobs)

    async def _close(self, reason: str) -> None:
        if self._socket.application_state is not WebSocketState.CONNECTED or reason == "gone":
            return
        if reason == "send_timeout":
            self._connection.give_up(CLOSE_SLOW)
            return
        try:
            async with asyncio.timeout(self._context.settings.send_timeout):
                await self._socket.close(CLOSE_DRAINING if reason == "drained" else 1000)
                await self._connection.until_closed(LINGER_S)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            self._connection.abort()

    async def _read(self) -> str:
        while True:
            try:
                text = await self._socket.receive_text()
            except KeyError:
                text = None
            except WebSocketDisconnect:
                return "gone"
            await self._operate(text)

    async def _operate(self, text: str | None) -> None:
        """Does what a message says; `text` is None for a binary one."""
        told: dict[str, Any] = {}
        try:
            if text is None:
                raise ProblemError(
                    "invalid_request", "Messages are text, not binary", field="message"
                )
            decoded = decode_object(text, "message")
            told = _names(decoded)
            match decoded.get("op"):
                case "create":
                    await self._create(decoded)
                case "resume":
                    await self._resume(decoded)
                case "detach":
                    self._jobs.detach(_job_id(decoded))
                case "cancel":
                    job_id = _job_id(decoded)
                    directory = self._context.directory
                    await directory.cancel(await directory.state(job_id, self._principal.user_id))
                case "ping":
                    await self._reply(event="pong")
                case _:
                    raise ProblemError(
                        "invalid_request",
                        "Expected one of create, resume, detach, cancel, ping",
                        field="op",
                    )
        except LogUnavailable:
            problem = ProblemError("log_unavailable", "The event log does not answer")
            await self._reply(event="error", **told, data=problem.body())
        except ProblemError as problem:
            await self._reply(event="error", **told, data=problem.body())

    async def _create(self, message: dict[str, Any]) -> None:
        self._check_room()
        job = message.get("job")
        if not isinstance(job, dict):
            raise ProblemError("invalid_request", "Expected an object", field="job")
        raw_key = message.get("idempotency_key")
        if raw_key is not None and not isinstance(raw_key, str):
            raise ProblemError("invalid_request", "Expected a string", field="idempotency_key")
        spec = job_spec(job, self._context.settings.max_tokens, "ws")
        key = idempotency_key(raw_key, "idempotency_key")
        accepted = await self._context.acceptance.accept(self._principal, spec, key, "ws")
        job_id = accepted.state.head.job_id
        status = accepted.state.status if accepted.replayed else "queued"
        await self._reply(event="created", ref=message.get("ref"), job_id=job_id, status=status)
        await self._watch(job_id, 0)

    async def _resume(self, message: dict[str, Any]) -> None:
        job_id = _job_id(message)
        if job_id not in self._jobs:
            self._check_room()
        cursor = message.get("cursor", 0)
        if isinstance(cursor, str):
            cursor = whole_number(cursor)
        if not isinstance(cursor, int) or isinstance(cursor, bool) or cursor < 0:
            raise ProblemError("bad_cursor", "Expected a whole number ≥ 0", field="cursor")
        await self._watch(job_id, cursor)

    async def _watch(self, job_id: str, cursor: int) -> None:
        watch = await watched(self._context, job_id, self._principal.user_id, cursor)
        if watch.over:
            watch.close()
            self._jobs.detach(job_id)
            await self._reply(event="ended", job_id=job_id, last_seq=watch.state.last_seq)
        else:
            self._jobs.put(job_id, watch, cursor)

    async def _find(self, job_id: str, cursor: int) -> Watch:
        return await self._context.directory.watch(job_id, self._principal.user_id, cursor)

    def _check_room(self) -> None:
        if len(self._jobs) >= JOBS_MAX:
            raise ProblemError("too_many_streams", f"At most {JOBS_MAX} jobs on one connection")

    async def _reply(self, **members: Any) -> None:
        await self._jobs.reply(_encode(members))


def _names(message: dict[str, Any]) -> dict[str, Any]:
    """What a reply repeats, so that the client knows what it is about."""
    names: dict[str, Any] = {n: message[n] for n in ("ref", "job_id") if n in message}
    if len(_encode(names)) > NAMES_MAX:
        raise ProblemError("invalid_request", f"At most {NAMES_MAX} bytes", field="ref")
    return names


def _job_id(message: dict[str, Any]) -> str:
    job_id = message.get("job_id")
    if not isinstance(job_id, str):
        raise ProblemError("invalid_request", "Expected a string", field="job_id")
    return job_id
