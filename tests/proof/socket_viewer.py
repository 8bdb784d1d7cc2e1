"""A viewer that reads by WebSocket, its own job and another one on the same connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from stream_broker.connection import EXTENSION
from tests.proof.ledger import Known
from tests.proof.twin import Twin
from tests.stream_broker.building import API_KEY
from tests.stream_broker.sockets import Socket


class SocketViewer:
    """As `Viewer`, by `GET /v1/ws`. `known`: what is known of every job, its own among them.

    The others are read from their beginning on each connection, and matter as long as the
    viewer's own does.
    """

    def __init__(self, job_id: str, known: Mapping[str, Known]) -> None:
        self.job_id = job_id
        self.cursor = 0
        self.twin: Twin | None = None
        self.over = False
        self._known = known
        self._socket: ProofSocket | None = None
        self._places: dict[str, int] = {}

    def connect(self, twin: Twin, back: int) -> None:
        """Comes back on a broker, `back` events before what was seen last."""
        self.leave()
        self.cursor = max(0, self.cursor - back)
        self.twin = twin
        self.over = False
        self._socket = ProofSocket(twin.broker.app)
        self._places = {self.job_id: self.cursor, **{j: 0 for j in self._known if j != self.job_id}}
        for job_id, cursor in self._places.items():
            self._socket.say(op="resume", job_id=job_id, cursor=cursor)

    def leave(self) -> None:
        """Closes the connection; what has arrived by then counts."""
        self.look()
        self.drop()

    def drop(self) -> None:
        """Closes the connection, whatever has arrived."""
        if self._socket is not None:
            self._socket.leave()
        self._gone()

    def stop_taking(self) -> None:
        """The client is slow."""
        if self._socket is not None:
            self._socket.full = True

    def take(self) -> None:
        """The client has taken everything."""
        if self._socket is not None:
            self._socket.take()

    def look(self) -> None:
        """Takes in what has arrived, and notes whether its own job is over for it."""
        socket = self._socket
        if socket is None:
            return
        for text in socket.fresh():
            self._message(text)
        assert not socket.refused, f"refused: {socket.refused}"
        if socket.task.done():
            socket.task.result()
            self._gone()
        elif self.over:
            self.drop()

    def _message(self, text: bytes) -> None:
        told = json.loads(text)
        job_id, event = told["job_id"], told["event"]
        if job_id not in self._places:
            assert event == "error", f"of a job that is over: {text!r}"
        elif "seq" in told:
            # The log's bytes, as they are.
            self._of_log(job_id, told["seq"], event, text[text.index(b'"data":') + 7 : -1])
        elif event == "ended":
            assert self._known[job_id].end == told["last_seq"] == self._places[job_id]
            self._end(job_id)
        elif event == "error":
            self._refused(job_id, told["data"])
        else:
            assert event == "job_error"
            assert self._known[job_id].lost, f"told that the log was lost: {text!r}"
            self._end(job_id)

    def _of_log(self, job_id: str, seq: int, event: str, data: bytes) -> None:
        known = self._known[job_id]
        assert seq == self._places[job_id] + 1, f"{seq} after {self._places[job_id]}"
        known.note(seq, event, data)
        self._places[job_id] = seq
        if job_id == self.job_id:
            self.cursor = seq
        if known.end is not None and seq >= known.end:
            self._end(job_id)

    def _refused(self, job_id: str, problem: Mapping[str, Any]) -> None:
        known, status = self._known[job_id], problem["status"]
        if status == 503:
            # The log does not answer: a client comes back.
            self._places.pop(job_id)
            if job_id == self.job_id:
                self.drop()
            return
        if status == 410:
            assert known.expired or known.lost
        elif status in (404, 421):
            # 421: its home may have it, for all that a broker can know after an outage.
            assert known.lost
        else:
            raise AssertionError(f"{problem} at cursor {self._places[job_id]}")
        self._end(job_id)

    def _end(self, job_id: str) -> None:
        del self._places[job_id]
        self.over |= job_id == self.job_id

    def _gone(self) -> None:
        self._socket = None
        self.twin = None

    @property
    def connected(self) -> bool:
        """Is there a connection that has not ended?"""
        return self._socket is not None


class ProofSocket(Socket):
    """A WebSocket to a broker in this process: the application's side, and the client's."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self.refused: list[dict[str, Any]] = []
        self._read = 0
        self._to_say: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_say.put_nowait({"type": "websocket.connect"})
        self.closed.set()
        scope = {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "server": ("broker", 80),
            "path": "/v1/ws",
            "query_string": b"",
            "subprotocols": [],
            "headers": [(b"authorization", b"Bearer " + API_KEY.encode())],
            "extensions": {EXTENSION: self, "websocket.http.response": {}},
        }
        self.task = asyncio.create_task(app(scope, self._to_say.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"].startswith("websocket.http.response"):
            self.refused.append(message)

    def say(self, **members: Any) -> None:
        """An operation of the client's."""
        self._to_say.put_nowait({"type": "websocket.receive", "text": json.dumps(members)})

    def fresh(self) -> list[bytes]:
        """The messages that have come since this was asked last."""
        messages = [message for write in self.writes[self._read :] for message in write]
        self._read = len(self.writes)
        return messages

    def leave(self) -> None:
        """The client closes its connection."""
        self._to_say.put_nowait({"type": "websocket.disconnect", "code": 1001})
        if self.taker is not None:
            self.taker.gone()

    def give_up(self, code: int) -> None:
        """See SocketConnection: the broker waits for this client no longer."""

    def abort(self) -> None:
        """See SocketConnection."""
