"""A tool behind a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
import msgspec

from contracts.tools import OfferedFunction
from control_plane.json_schemas import Arguments
from control_plane.policy_document import HttpTool
from control_plane.tools.address import check_allowed
from control_plane.tools.base import Call, ToolError, ToolsError
from control_plane.tools.http_plan import planned
from control_plane.tools.network import GuardedTransport, Resolve, client_for, resolve

_TOLD_MAX: Final = 500
# What a parameter of an OpenAPI description may not set.
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "authorization", "cookie"}
)


class HttpCaller:
    """One HTTP tool, ready to be called."""

    def __init__(
        self, name: str, tool: HttpTool, base: Path | None = None, resolved: Resolve = resolve
    ) -> None:
        """`base` is where the policy's relative file names begin. Raises ToolsError."""
        try:
            plan = planned(tool, base)
        except ToolsError as error:
            raise ToolsError(f"{name}: {error}") from error
        self._operation, self._base_url = plan.operation, plan.base_url
        self._headers = tool.headers
        self._most = tool.answer_max
        self.timeout_s = tool.timeout_s
        self._arguments = Arguments(self._operation.parameters)
        try:
            check_allowed(tool.allow)
        except ValueError as error:
            raise ToolsError(f"{name}: allow: {error}") from error
        self.functions = [
            OfferedFunction(
                name=name,
                description=tool.description or self._operation.description,
                parameters=self._operation.parameters,
            )
        ]
        self._client = client_for(
            GuardedTransport(tool.allow, tool.answer_max, resolved), tool.timeout_s
        )

    def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def invoke(self, _: str, call: Call) -> str:
        """See RunningTool."""
        fault = self._arguments.fault(call.arguments)
        if fault is not None:
            raise ToolError("invalid", fault)
        request = self._request(call)
        try:
            async with self._client.stream(**request) as response:
                body = await response.aread()
        except httpx2.TimeoutException as error:
            raise ToolError("timeout", "The tool did not answer in time.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ToolError("unreachable", "The tool cannot be reached.") from error
        return _content(response, body)

    def _request(self, call: Call) -> dict[str, Any]:
        operation, sent = self._operation, dict(call.arguments)
        path, query = operation.path, {}
        headers = {"Idempotency-Key": f'"{call.key}"', **self._headers}
        for name, place in operation.places.items():
            if name not in sent:
                continue
            value = _text(sent.pop(name))
            if place == "query":
                query[name] = value
            elif place == "header" and name.lower() not in _OWN_HEADERS:
                headers[name] = _header(value)
            elif place == "path":
                path = path.replace(f"{{{name}}}", _segment(value))
        request: dict[str, Any] = {"method": operation.method, "headers": headers}
        if operation.method == "GET":
            query |= {name: _text(value) for name, value in sent.items()}
        elif sent or not operation.places:
            request["content"] = msgspec.json.encode(sent)
            headers["Content-Type"] = "application/json"
        url = httpx2.URL(self._base_url + path)
        # What the policy says in the URL is not the model's to change.
        request["url"] = url.copy_merge_params(query | dict(url.params)) if query else url
        return request


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _segment(value: str) -> str:
    """One segment of a path, whatever a model writes."""
    if value in ("", ".", ".."):
        raise ToolError("invalid", "This cannot stand in a path.")
    return quote(value, safe="")


def _header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ToolError("invalid", "This cannot stand in a header.")
    return value


def _content(response: httpx2.Response, body: bytes) -> str:
    """What the tool said: JSON and text as they are. Raises ToolError."""
    media = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    is_json = media == "application/json" or media.endswith("+json")
    if not (is_json or media.startswith("text/")):
        raise ToolError("failed", f"The tool answered with {media[:60]}, which is no text.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError("failed", "The tool's answer is not UTF-8.") from error
    if not 200 <= response.status_code < 300:
        raise ToolError("failed", _refusal(response, text))
    if is_json and text:
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ToolError("failed", "The tool's answer is not the JSON that it says.") from error
    return text


def _refusal(response: httpx2.Response, text: str) -> str:
    if response.has_redirect_location:
        return "The tool sent elsewhere, which is not followed."
    said = f": {text[:_TOLD_MAX]}" if text.strip() else "."
    return f"The tool answered with status {response.status_code}{said}"
