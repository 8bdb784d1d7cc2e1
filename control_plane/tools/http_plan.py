"""What an HTTP tool of the policy asks, worked out before anything is asked. Pure but for reading
the OpenAPI file that it names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from control_plane.json_schemas import SchemaError, parameters_of
from control_plane.policy_document import HttpTool
from control_plane.tools.base import ToolsError
from control_plane.tools.openapi import Description, Operation


class Plan(msgspec.Struct, frozen=True):
    """The operation, and what stands before its path: the whole URL where it has none."""

    operation: Operation
    base_url: str


def planned(tool: HttpTool, base: Path | None) -> Plan:
    """`base` is where the policy's relative file names begin. Raises ToolsError."""
    operation = _described(tool, base) if tool.openapi is not None else _written_out(tool)
    url = tool.url or operation.server or ""
    if operation.path:
        url = url.rstrip("/")
    if not _usable(url):
        raise ToolsError("a URL of http or https without a user is needed", member="url")
    return Plan(operation, url)


def _described(tool: HttpTool, base: Path | None) -> Operation:
    if tool.operation is None or tool.parameters is not None:
        raise ToolsError("openapi goes with an operation and without parameters")
    file = str(tool.openapi)
    return Description((base or Path()) / file, file).operation(tool.operation)


def _written_out(tool: HttpTool) -> Operation:
    try:
        parameters = parameters_of(tool.parameters or {})
    except SchemaError as error:
        raise ToolsError(f"parameters: {error}", member="parameters") from error
    return Operation(
        method=tool.method,
        path="",
        server=None,
        description=tool.description,
        parameters=parameters,
        places={},
    )


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        return False
