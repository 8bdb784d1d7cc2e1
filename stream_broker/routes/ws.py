"""`GET /v1/ws`: many jobs on one connection, served round-robin by one writer.

Nothing is queued per job: the writer reads a few events of each job in turn from its
window or log, so what waits is bounded whatever the client does. Replies wait in a
bounded queue, and while it is full the client's next message is not read.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from contracts.problems import ProblemError
from stream_broker.authn import Principal, credential_of, same_origin
from stream_broker.connection import EXTENSION
from stream_broker.context import Context
from stream_broker.events import Event
from stream_broker.feed import LogExpired
from stream_broker.log.base import LogUnavailable
from stream_broker.requests import idempotency_key, job_spec, whole_number
from stream_broker.routes.answers import problem_response
from stream_broker.tasks import end
from stream_broker.watch import Watch

SUBPROTOCOL = "okome.v1"
JOBS_MAX = 32
REPLIES_MAX = 64
# Bytes of one job's events per turn: 32 jobs of these make the 256 KiB of the contract.
TURN_BYTES = 8 << 10
CLOSE_SLOW = 4008
CLOSE_DRAINING = 1012
_LOG_RETRY_S = 0.2

_encode = msgspec.json.encode


def ws_routes(context: Context) -> list[WebSocketRoute]:
    """The route of this file."""

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

    return [WebSocketRoute("/v1/ws", endpoint)]


async def _admit(context: Context, socket: WebSocket) -> Principal:
    if context.draining:
        raise ProblemError("draining", "This broker is draining; come back")
    context.viewers.check_room()
    credential = credential_of(socket.headers)
    if credential is not None and credential.by_cookie and not same_origin(socket.headers):
        raise ProblemError("origin_not_allowed", "Origin must be the host that is asked")
    return await context.authenticate(socket.headers)


class Connection:
    """One WebSocket: a reader of operations, a writer of everything."""

    def __init__(self, context: Context, socket: WebSocket, principal: Principal) -> None:
        self._context = context
        self._socket = socket
        self._principal = principal
        self._watches: dict[str, Watch] = {}
        self._replies: asyncio.Queue[bytes] = asyncio.Queue(REPLIES_MAX)
        self._more = asyncio.Event()
        self._draining = False

    async def serve(self) -> None:
        """Serves until either side ends the connection."""
        self._context.viewers.add(self)
        reading = asyncio.get_running_loop().create_task(self._read())
        writing = asyncio.get_running_loop().create_task(self._write())
        try:
            done, _ = await asyncio.wait({reading, writing}, return_when="FIRST_COMPLETED")
            reason = next(iter(done)).result()
        finally:
            await end([reading, writing])
            for watch in self._watches.values():
                watch.close()
            self._context.viewers.remove(self)
        self._context.viewers.closed(reason)
        await self._close(reason)

    def drain(self) -> None:
        """Closes with 1012: come back, to another broker."""
        self._draining = True
        self._more.set()

    async def _close(self, reason: str) -> None:
        codes = {"send_timeout": CLOSE_SLOW, "drained": CLOSE_DRAINING}
        if self._socket.application_state is not WebSocketState.CONNECTED or reason == "gone":
            return
        try:
            async with asyncio.timeout(1.0):
                await self._socket.close(codes.get(reason, 1000))
        except (TimeoutError, RuntimeError):
            return

    async def _read(self) -> str:
        while True:
            try:
                text = await self._socket.receive_text()
            except (WebSocketDisconnect, KeyError):
                return "gone"
            try:
                await self._operate(text)
            except LogUnavailable:
                problem = ProblemError("log_unavailable", "The event log does not answer")
                await self._reply(event="error", data=problem.body())

    async def _operate(self, text: str) -> None:
        told: dict[str, Any] = {}
        try:
            decoded = msgspec.json.decode(text)
            if not isinstance(decoded, dict):
                raise ProblemError("invalid_request", "A message must be a JSON object")
            told = {name: decoded[name] for name in ("ref", "job_id") if name in decoded}
            match decoded.get("op"):
                case "create":
                    await self._create(decoded)
                case "resume":
                    await self._resume(decoded)
                case "detach":
                    self._detach(_job_id(decoded))
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
        except (msgspec.DecodeError, RecursionError):
            problem = ProblemError("invalid_json", "The message is not JSON")
            await self._reply(event="error", data=problem.body())
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
        key = idempotency_key(raw_key)
        accepted = await self._context.acceptance.accept(self._principal, spec, key, "ws")
        job_id = accepted.state.head.job_id
        status = accepted.state.status if accepted.replayed else "queued"
        await self._reply(event="created", ref=message.get("ref"), job_id=job_id, status=status)
        await self._watch(job_id, 0)

    async def _resume(self, message: dict[str, Any]) -> None:
        job_id = _job_id(message)
        if job_id not in self._watches:
            self._check_room()
        cursor = message.get("cursor", 0)
        if isinstance(cursor, str):
            cursor = whole_number(cursor)
        if not isinstance(cursor, int) or isinstance(cursor, bool) or cursor < 0:
            raise ProblemError("bad_cursor", "Expected a whole number ≥ 0", field="cursor")
        await self._watch(job_id, cursor)

    async def _watch(self, job_id: str, cursor: int) -> None:
        watch = await self._context.directory.watch(job_id, self._principal.user_id, cursor)
        self._detach(job_id)
        if watch.over:
            watch.close()
            await self._reply(event="ended", job_id=job_id, last_seq=watch.state.last_seq)
            return
        watch.window.listen(self._more.set)
        self._watches[job_id] = watch
        self._more.set()

    def _detach(self, job_id: str) -> None:
        watch = self._watches.pop(job_id, None)
        if watch is not None:
            watch.window.unlisten(self._more.set)
            watch.close()

    def _check_room(self) -> None:
        if len(self._watches) >= JOBS_MAX:
            raise ProblemError("too_many_streams", f"At most {JOBS_MAX} jobs on one connection")

    async def _reply(self, **members: Any) -> None:
        await self._replies.put(_encode(members))
        self._more.set()

    async def _write(self) -> str:
        try:
            while not self._draining:
                self._more.clear()
                if not await self._turn():
                    await self._more.wait()
        except TimeoutError:
            self._socket.scope["extensions"][EXTENSION].abort()
            return "send_timeout"
        except (WebSocketDisconnect, RuntimeError):
            return "gone"
        return "drained"

    async def _turn(self) -> bool:
        """Replies first, then a few events of each job. Returns whether there was any."""
        busy = False
        while not self._replies.empty():
            await self._send(self._replies.get_nowait())
            busy = True
        for job_id, watch in list(self._watches.items()):
            busy |= await self._serve_job(job_id, watch)
        return busy

    async def _serve_job(self, job_id: str, watch: Watch) -> bool:
        feed = watch.feed
        try:
            events = await feed.poll(TURN_BYTES)
        except LogUnavailable:
            asyncio.get_running_loop().call_later(_LOG_RETRY_S, self._more.set)
            return False
        except LogExpired:
            problem = ProblemError("log_expired", "The log of this job has expired")
            await self._send(_encode({"event": "error", "job_id": job_id, "data": problem.body()}))
            self._detach(job_id)
            return True
        for event in events:
            await self._send(ws_message(job_id, event))
        if feed.failure is not None:
            await self._send(ws_message(job_id, feed.failure, in_log=False))
        if feed.ended:
            self._detach(job_id)
        elif watch.window.moved:
            await self._follow(job_id, feed.cursor)
        return bool(events)

    async def _follow(self, job_id: str, cursor: int) -> None:
        """The relay has moved: watch the job where it is now."""
        try:
            await self._watch(job_id, cursor)
        except LogUnavailable:
            asyncio.get_running_loop().call_later(_LOG_RETRY_S, self._more.set)
        except ProblemError as problem:
            self._detach(job_id)
            await self._send(_encode({"event": "error", "job_id": job_id, "data": problem.body()}))

    async def _send(self, message: bytes) -> None:
        async with asyncio.timeout(self._context.settings.send_timeout):
            await self._socket.send_text(message.decode())


def ws_message(job_id: str, event: Event, *, in_log: bool = True) -> bytes:
    """One event as one message; `data` is the log's bytes, spliced in unchanged."""
    seq = b'"seq":%d,' % event.seq if in_log else b""
    return b'{"job_id":%b,%b"event":"%b","data":%b}' % (
        _encode(job_id),
        seq,
        event.name.encode(),
        event.data,
    )


def _job_id(message: dict[str, Any]) -> str:
    job_id = message.get("job_id")
    if not isinstance(job_id, str):
        raise ProblemError("invalid_request", "Expected a string", field="job_id")
    return job_id
