"""Ollama's wire in front of a server that speaks the OpenAI API.

Today's Ollama is itself such a front, to llama.cpp's server. Made after Ollama's API
documentation and the types of its Python client 0.6.3, and independent of what it is
to test: none of the broker's code is in it. Images are not. Thinking and tool calls go through
where the model behind has them; SmolLM2 has neither.

    python -m tests.support.ollama_wire --engine http://127.0.0.1:8000 --port 11434
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.real_engine import ServerProcess

VERSION = "0.12.0"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q4_1",
}
Shape = Callable[[str], dict[str, Any]]


class OllamaWire(ServerProcess):
    """The wire in a process of its own."""

    def __init__(self, engine_url: str) -> None:
        super().__init__("tests.support.ollama_wire", "--engine", engine_url)


class RefusalError(Exception):
    """An answer with an HTTP error and Ollama's `{"error": "…"}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Front:
    """The routes, over one engine."""

    def __init__(self, engine_url: str) -> None:
        # llama.cpp closes a connection after a stream although it promises to keep it.
        alone = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.AsyncClient(base_url=engine_url, timeout=600, limits=alone)
        self.cold: set[str] = set()

    async def names(self) -> list[str]:
        """The models that the engine has."""
        models = (await self.http.get("/v1/models")).json()["data"]
        return [model["id"] for model in models]

    async def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON, of a model that is there."""
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise RefusalError(400, str(error)) from error
        if not isinstance(body, dict) or not body.get("model"):
            raise RefusalError(400, "model is required")
        if body["model"] not in await self.names():
            raise RefusalError(404, f"model '{body['model']}' not found")
        return body

    async def tags(self, _: Request) -> Response:
        """`GET /api/tags`."""
        return JSONResponse({"models": [model_entry(name) for name in await self.names()]})

    async def ps(self, _: Request) -> Response:
        """`GET /api/ps`: the models in memory. All are, until one is unloaded."""
        until = {"expires_at": "2318-01-01T00:00:00Z", "size_vram": 0, "context_length": 2048}
        loaded = [name for name in await self.names() if name not in self.cold]
        return JSONResponse({"models": [model_entry(name) | until for name in loaded]})

    def keep(self, body: dict[str, Any]) -> str:
        """What a request without messages or prompt is for: load the model, or unload it."""
        unload = body.get("keep_alive") in (0, "0", "0s", "0m")
        (self.cold.add if unload else self.cold.discard)(body["model"])
        return "unload" if unload else "load"

    async def show(self, request: Request) -> Response:
        """`POST /api/show`. SmolLM2's template has no place for tools: it is not said to call
        them."""
        await self.body(request)
        return JSONResponse(
            {
                "modelfile": "",
                "template": "{{ .Prompt }}",
                "details": DETAILS,
                "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
                "capabilities": ["completion", "embedding"],
                "modified_at": "2026-01-01T00:00:00Z",
            }
        )

    async def chat(self, request: Request) -> Response:
        """`POST /api/chat`."""
        body = await self.body(request)
        messages = body.get("messages") or []
        if not messages:
            end = {"message": message(""), "done": True, "done_reason": self.keep(body)}
            return JSONResponse(stamp(body["model"]) | end)
        if body.get("think"):
            raise RefusalError(400, f'"{body["model"]}" does not support thinking')
        return await self.generation(body, messages, lambda text: {"message": message(text)})

    async def generate(self, request: Request) -> Response:
        """`POST /api/generate`."""
        body = await self.body(request)
        if not body.get("prompt"):
            end = {"response": "", "done": True, "done_reason": self.keep(body)}
            return JSONResponse(stamp(body["model"]) | end)
        messages = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        messages.append({"role": "user", "content": body.get("prompt", "")})
        return await self.generation(body, messages, lambda text: {"response": text})

    async def embed(self, request: Request) -> Response:
        """`POST /api/embed`."""
        body = await self.body(request)
        begun = time.monotonic_ns()
        given = body.get("input")
        items = [given] if isinstance(given, str) else given
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise RefusalError(400, "invalid input type")
        question = {"model": body["model"], "input": items}
        answer = await self.http.post("/v1/embeddings", json=question)
        if answer.status_code != 200:
            raise RefusalError(answer.status_code, answer.json()["error"]["message"])
        told = answer.json()
        vectors = [one["embedding"] for one in told["data"]]
        told = counts({"prompt_tokens": told["usage"]["prompt_tokens"]}, begun)
        return JSONResponse({"model": body["model"], "embeddings": vectors} | told)

    async def generation(self, body: dict[str, Any], messages: list[Any], shape: Shape) -> Response:
        """An answer, streamed unless asked otherwise; the engine always streams."""
        upstream = await self.start(body, messages)
        objects = self.objects(body["model"], upstream, shape)
        if body.get("stream", True):
            lines = (json.dumps(item, ensure_ascii=False) + "\n" async for item in objects)
            return StreamingResponse(lines, media_type="application/x-ndjson")
        said = [item async for item in objects]
        if "error" in said[-1]:
            return JSONResponse(said[-1], 500)
        text = "".join(text_in(item) for item in said)
        return JSONResponse(said[-1] | shape(text))

    async def start(self, body: dict[str, Any], messages: list[Any]) -> httpx.Response:
        """The engine's stream. Raises RefusalError with what the engine refuses."""
        options = body.get("options") or {}
        wanted = {
            "max_tokens": options.get("num_predict"),
            "temperature": options.get("temperature"),
            "top_p": options.get("top_p"),
            "seed": options.get("seed"),
            "stop": options.get("stop"),
        }
        question = {name: value for name, value in wanted.items() if value is not None}
        question |= {"model": body["model"], "messages": messages, "stream": True}
        question |= {"stream_options": {"include_usage": True}}
        if body.get("tools"):
            question["tools"] = body["tools"]
        request = self.http.build_request("POST", "/v1/chat/completions", json=question)
        upstream = await self.http.send(request, stream=True)
        if upstream.status_code != 200:
            error = json.loads(await upstream.aread())["error"]
            raise RefusalError(upstream.status_code, error["message"])
        return upstream

    async def objects(
        self, model: str, upstream: httpx.Response, shape: Shape
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of the stream; the last one has the counts, or is an error."""
        begun = time.monotonic_ns()
        reason: str | None = None
        usage: dict[str, int] = {}
        calls: list[dict[str, Any]] = []
        try:
            async for line in upstream.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    reason = choice["finish_reason"] or reason
                    calls += choice["delta"].get("tool_calls") or []
                    if text := choice["delta"].get("reasoning_content"):
                        yield stamp(model) | thinking(text) | {"done": False}
                    if text := choice["delta"].get("content"):
                        yield stamp(model) | shape(text) | {"done": False}
        except httpx.HTTPError as error:
            yield {"error": f"an error was encountered while running the model: {error}"}
            return
        finally:
            await upstream.aclose()
        if reason is None:
            yield {"error": "an error was encountered while running the model: unexpected EOF"}
            return
        if calls:
            said = message("") | {"tool_calls": whole_calls(calls)}
            yield stamp(model) | {"message": said, "done": False}
            reason = "stop"
        yield (
            stamp(model) | shape("") | {"done": True, "done_reason": reason} | counts(usage, begun)
        )


def stamp(model: str) -> dict[str, Any]:
    """How every object begins."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"model": model, "created_at": now}


def message(text: str) -> dict[str, Any]:
    """A message of the answer."""
    return {"role": "assistant", "content": text}


def thinking(text: str) -> dict[str, Any]:
    """A piece of thinking, which comes before what is said."""
    return {"message": message("") | {"thinking": text}}


def whole_calls(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI's fragments as Ollama's whole calls, whose arguments are an object."""
    calls: dict[int, dict[str, str]] = {}
    for part in parts:
        call = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""
    return [
        {
            "id": call["id"],
            "function": {
                "index": index,
                "name": call["name"],
                "arguments": json.loads(call["arguments"] or "{}"),
            },
        }
        for index, call in sorted(calls.items())
    ]


def text_in(item: dict[str, Any]) -> str:
    """The text of an object of either shape."""
    said: str = item["message"]["content"] if "message" in item else item["response"]
    return said


def counts(usage: dict[str, int], begun: int) -> dict[str, int]:
    """Counts and durations in nanoseconds; the server leaves out what is zero."""
    told = {
        "total_duration": time.monotonic_ns() - begun,
        "load_duration": 1000,
        "prompt_eval_count": usage.get("prompt_tokens", 0),
        "eval_count": usage.get("completion_tokens", 0),
    }
    return {name: value for name, value in told.items() if value}


def model_entry(name: str) -> dict[str, Any]:
    """A model as it is listed."""
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 98_362_432,
        "digest": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "details": DETAILS,
    }


async def refused(_: Request, error: Exception) -> Response:
    """Ollama's shape of an error."""
    assert isinstance(error, RefusalError)
    return JSONResponse({"error": str(error)}, error.status)


def build_app(engine_url: str) -> Starlette:
    """The application over one engine."""
    front = Front(engine_url)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await front.http.aclose()

    routes = [
        Route("/", lambda _: PlainTextResponse("Ollama is running")),
        Route("/api/version", lambda _: JSONResponse({"version": VERSION})),
        Route("/api/tags", front.tags),
        Route("/api/ps", front.ps),
        Route("/api/show", front.show, methods=["POST"]),
        Route("/api/chat", front.chat, methods=["POST"]),
        Route("/api/generate", front.generate, methods=["POST"]),
        Route("/api/embed", front.embed, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={RefusalError: refused})


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serves until standard input ends (with `--ready-fd`) or until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", required=True, help="URL of an OpenAI-speaking engine")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    listener = socket.create_server((arguments.host, arguments.port), backlog=128)
    if arguments.ready_fd is not None:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
        os.write(arguments.ready_fd, b"1")
    config = uvicorn.Config(build_app(arguments.engine), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
