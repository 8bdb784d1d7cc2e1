"""One operation of an OpenAPI description (3.0, 3.1) as a tool. Pure but for reading the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from control_plane.json_schemas import SchemaError, parameters_of
from control_plane.tools.base import ToolsError
from inventory.faults import one_of

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_FILE_MAX: Final = 4 << 20


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask: `places` says of each parameter whether it goes into the `path`, the
    `query` or a `header`; what it does not name is a member of the JSON body."""

    method: str
    path: str
    server: str | None
    description: str
    parameters: dict[str, Any]
    places: dict[str, str]


class Description:
    """A description in a file of JSON or YAML, which messages call `name`."""

    def __init__(self, path: Path, name: str) -> None:
        """Raises ToolsError."""
        self._name = name
        try:
            if path.stat().st_size > _FILE_MAX:
                raise ToolsError(f"{name}: larger than {_FILE_MAX} bytes", member="openapi")
            self._text = path.read_text(encoding="utf-8")
            self._document = yaml.safe_load(self._text)
        except OSError as error:
            told = f"{name}: cannot be read: {error.strerror}"
            raise ToolsError(told, member="openapi") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            told = f"{name}:{line}: not valid YAML: {error.problem}"
            raise ToolsError(told, member="openapi") from error
        except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise ToolsError(f"{name}: cannot be read: {error}", member="openapi") from error

    def operation(self, wanted: str) -> Operation:
        """The operation with this `operationId`. Raises ToolsError."""
        known: list[str] = []
        for path, item, method, operation in _operations(self._document):
            if operation.get("operationId") == wanted:
                try:
                    return _operation(self._document, path, item, method, operation)
                except (SchemaError, AttributeError, TypeError, ValueError) as error:
                    why = error if isinstance(error, SchemaError) else "a part is of another type"
                    told = f"{self._name}:{self._line_of(wanted)}: operation {wanted}: {why}"
                    raise ToolsError(told, member="operation") from error
            known.append(str(operation.get("operationId")))
        told = f"{self._name}: no operation is called {wanted!r}; operations are {one_of(known)}"
        raise ToolsError(told, member="operation")

    def _line_of(self, operation: str) -> int:
        found = re.search(rf"operationId\W+{re.escape(operation)}\b", self._text)
        return 1 + self._text.count("\n", 0, found.start()) if found else 1


def _operations(
    document: Any,
) -> Iterator[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]]:
    paths = document.get("paths") if isinstance(document, Mapping) else None
    for path, item in (paths or {}).items() if isinstance(paths, Mapping) else ():
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, Mapping) else None
            if isinstance(operation, Mapping):
                yield str(path), item, method, operation


def _operation(
    document: Any,
    path: str,
    item: Mapping[str, Any],
    method: str,
    operation: Mapping[str, Any],
) -> Operation:
    properties: dict[str, Any] = {}
    required: list[str] = []
    places: dict[str, str] = {}
    for raw in (*(item.get("parameters") or ()), *(operation.get("parameters") or ())):
        told = _told(document, raw)
        place, member = told.get("in"), told.get("name")
        if place not in ("path", "query", "header") or not isinstance(member, str):
            raise SchemaError(f"a parameter in {place!r} is not understood")
        properties[member] = {"description": told.get("description", "")} | dict(
            told.get("schema") or {}
        )
        places[member] = place
        if (told.get("required") or place == "path") and member not in required:
            required.append(member)
    body = _body(document, operation)
    for member, schema in (body.get("properties") or {}).items():
        if member in places:
            raise SchemaError(f"{member} is a parameter and a member of the body")
        properties[member] = schema
    required += [member for member in body.get("required") or () if member not in required]
    schema = {"type": "object", "properties": properties, "required": required}
    servers = document.get("servers") or [{}]
    return Operation(
        method=method.upper(),
        path=path,
        server=servers[0].get("url"),
        description=str(operation.get("summary") or operation.get("description") or ""),
        parameters=parameters_of(schema, document),
        places=places,
    )


def _body(document: Any, operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the JSON body; empty where there is none."""
    raw = operation.get("requestBody")
    if raw is None:
        return {}
    content = _told(document, raw).get("content") or {}
    if "application/json" not in content:
        raise SchemaError("only bodies of application/json are sent")
    return parameters_of(content["application/json"].get("schema") or {}, document)


def _told(document: Any, raw: Any) -> Mapping[str, Any]:
    """A part of the description, where a reference may stand in its place."""
    seen = 0
    while isinstance(raw, Mapping) and isinstance(raw.get("$ref"), str):
        seen += 1
        found: Any = document
        for step in raw["$ref"].removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found is None or seen > 8:
            raise SchemaError(f"the reference {raw['$ref'][:100]} leads nowhere")
        raw = found
    if not isinstance(raw, Mapping):
        raise SchemaError("a part of the description is no object")
    return raw
