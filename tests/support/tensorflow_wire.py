"""TensorFlow Serving's wire: `/v1/models/{m}:predict`, after its "RESTful API" page.

The model's name says how it behaves, or the first instance where that is such a name:

    half_plus_two   answers x / 2 + 2 for numbers, and a text with its length
    nan             answers with NaN and Infinity, which TensorFlow Serving does
    held            answers while `POST /release` was the last of it and `POST /hold`
    slow            never answers; `GET /waiting` tells how many it keeps waiting
    broken          answers 500 `{"error": …}`, as a failing graph does
    page            answers 200 with HTML, as a wrong port does
    huge            answers 10 MB

    python -m tests.support.tensorflow_wire --port 8501
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from typing import Any

from tests.support.real_engine import ServerProcess

MODELS = ("half_plus_two", "nan", "held", "slow", "broken", "page", "huge")
HUGE = 10_000_000
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/\d+)?(:predict)?\Z")


class TensorFlowWire(ServerProcess):
    """The wire in a process of its own."""

    def __init__(self) -> None:
        super().__init__("tests.support.tensorflow_wire")


def predicted(body: bytes) -> tuple[int, Any]:
    """Status and answer of `half_plus_two`; its refusals are in the server's words."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        return 400, {"error": f"JSON Parse error: {error} at offset: 0"}
    if not isinstance(asked, dict) or ("instances" in asked) == ("inputs" in asked):
        return 400, {"error": "Missing 'inputs' or 'instances' key"}
    name = "instances" if "instances" in asked else "inputs"
    values = asked[name]
    if not isinstance(values, list) or not values:
        return 400, {"error": f"Expecting '{name}' value to be a non-empty list"}
    told = [v / 2 + 2 if isinstance(v, int | float) else len(str(v)) for v in values]
    return 200, {"predictions" if name == "instances" else "outputs": told}


class Wire:
    """The calls that are waiting, and the answers to others."""

    def __init__(self) -> None:
        self.waiting = 0
        self._released = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after the other."""
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client has left.
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        method, path, _ = head.split(" ", 2)
        if path == "/waiting":
            _write(writer, 200, json.dumps(self.waiting).encode())
            return True
        if path in ("/release", "/hold"):
            (self._released.set if path == "/release" else self._released.clear)()
            _write(writer, 200, b"null")
            return True
        found = _PATH.match(path)
        if found is None or (method == "POST") != bool(found[2]):
            told = "Missing model name in request." if path == "/v1/models" else "Malformed request"
            _write(writer, 400, json.dumps({"error": f"{told}: {method} {path}"}).encode())
        elif found[1] not in MODELS:
            error = f"Servable not found for request: Latest({found[1]})"
            _write(writer, 404, json.dumps({"error": error}).encode())
        elif method == "GET":
            status = {"error_code": "OK", "error_message": ""}
            version = {"version": "1", "state": "AVAILABLE", "status": status}
            _write(writer, 200, json.dumps({"model_version_status": [version]}, indent=1).encode())
        else:
            return await self._predicted(reader, writer, _behaviour(found[1], body), body)
        return True

    async def _predicted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: str, body: bytes
    ) -> bool:
        if how == "slow":
            await self._wait(reader)
            return False
        if how == "held":
            await self._released.wait()
        _write(writer, *_predict(how, body))
        return True

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        self.waiting += 1
        try:
            await reader.read()
        finally:
            self.waiting -= 1


def _behaviour(model: str, body: bytes) -> str:
    try:
        (first, *_) = json.loads(body)["instances"]
    except (ValueError, TypeError, KeyError):
        return model
    return first if isinstance(first, str) and first in MODELS else model


def _predict(model: str, body: bytes) -> tuple[int, bytes]:
    if model == "nan":
        return 200, b'{\n    "predictions": [NaN, Infinity, 0.5\n    ]\n}'
    if model == "broken":
        return 500, b'{"error": "Session was not created with a graph before Run()!"}'
    if model == "page":
        return 200, b"<html><body>It works!</body></html>"
    if model == "huge":
        return 200, b'{"predictions": [%b1]}' % (b"1," * (HUGE // 2))
    status, told = predicted(body)
    return status, json.dumps(told, indent=4).encode()


def _write(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    kind = b"text/html" if body.startswith(b"<") else b"application/json"
    head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (status, kind, len(body)) + body)


async def serve(port: int, ready_fd: int | None) -> None:
    """Serves until standard input ends (with `ready_fd`) or until interrupted."""
    server = await asyncio.start_server(Wire().serve, "127.0.0.1", port)
    if ready_fd is not None:
        os.write(ready_fd, b"1")
        await asyncio.to_thread(sys.stdin.buffer.read)
        os._exit(0)
    await server.serve_forever()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.ready_fd))


if __name__ == "__main__":
    main()
