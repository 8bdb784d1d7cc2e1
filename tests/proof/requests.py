"""One request to a broker in this process, and what its stream has said so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.stream_broker.asgi import Exchange


@dataclass
class Block:
    """One SSE block as its bytes said it. `comments` stood before or in it."""

    id: int | None = None
    event: str | None = None
    data: bytes | None = None
    retry: int | None = None
    comments: list[str] = field(default_factory=list)


class Request(Exchange):
    """An exchange with a body in the request, and the answer's blocks one by one."""

    def __init__(self, app: Any, body: bytes, **scope: Any) -> None:
        self._to_send: bytes | None = body
        self._read = 0
        super().__init__(
            app,
            **{"http_version": "1.1", "scheme": "http", "server": ("broker", 80)} | scope,
        )

    async def _receive(self) -> dict[str, Any]:
        if self._to_send is not None:
            body, self._to_send = self._to_send, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await super()._receive()

    @property
    def status(self) -> int | None:
        """The status, once there is one."""
        return self.sent[0]["status"] if self.sent else None

    @property
    def header(self) -> dict[str, str]:
        """The answer's headers."""
        return {k.decode(): v.decode() for k, v in self.sent[0]["headers"]}

    def json(self) -> Any:
        """The answer's body."""
        return json.loads(self.body)

    def fresh(self) -> list[Block]:
        """The whole blocks that have come since this was asked last."""
        body = self.body
        end = body.rfind(b"\n\n", self._read) + 2
        if end < 2:
            return []
        text, self._read = body[self._read : end], end
        return blocks_of(text)

    @property
    def rest(self) -> bytes:
        """What has come of a block that is not whole."""
        return self.body[self._read :]


def blocks_of(text: bytes) -> list[Block]:
    """Whole blocks, parsed as the standard has it; every line must be one it knows."""
    blocks = []
    for part in text.split(b"\n\n")[:-1]:
        block = Block()
        for line in part.split(b"\n"):
            name, colon, value = line.partition(b":")
            assert colon, f"no field: {line!r}"
            value = value.removeprefix(b" ")
            match name:
                case b"":
                    block.comments.append(value.decode())
                case b"id":
                    block.id = int(value)
                case b"event":
                    block.event = value.decode()
                case b"data":
                    assert block.data is None, "two lines of data"
                    block.data = value
                case b"retry":
                    block.retry = int(value)
                case _:
                    raise AssertionError(f"unknown field: {line!r}")
        blocks.append(block)
    return blocks
