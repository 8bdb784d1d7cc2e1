"""JSON schemas of parameters: made self-contained, judged, and arguments checked by them. Pure.

One judge for all of them: what the policy writes, OpenAPI files and MCP servers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError as NotASchema
from jsonschema.exceptions import best_match
from referencing import Registry

# A schema is part of every prompt that offers it.
SCHEMA_MAX: Final = 16 << 10
DEPTH_MAX: Final = 32
NODES_MAX: Final = 2_000
_LEFT_OUT: Final = frozenset({"$ref", "$id", "$schema", "$anchor", "$defs", "definitions"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_VALUES: Final = frozenset({"enum", "const", "default", "examples", "example", "required"})
_MESSAGE_MAX: Final = 300


class SchemaError(ValueError):
    """A schema that cannot be offered; says why."""


def schema_fault(schema: Any) -> str | None:
    """Why a schema that an operator wrote out cannot describe the arguments of a tool, or None
    where it can: it says its type too, and is one for `parameters_of`."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        return "expected a JSON schema with `type: object`"
    try:
        parameters_of(schema)
    except SchemaError as error:
        return str(error)
    return None


def parameters_of(schema: Any, document: Any = None) -> dict[str, Any]:
    """`schema` of a function's parameters with every `$ref` replaced by what it names.

    `document` is what the references are in, the schema itself by default. Raises SchemaError
    for one that recurses or refers to elsewhere, because engines compile schemas and each of
    them fails on these in its own way; for one that is no schema of an object; and for one
    deeper than DEPTH_MAX, of more than NODES_MAX values or SCHEMA_MAX bytes once written out.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError("the parameters must be a JSON schema of an object")
    whole = _Inliner(schema if document is None else document).whole(schema)
    found: dict[str, Any] = {"type": "object", "properties": {}} | whole
    if found["type"] != "object":
        raise SchemaError('the parameters must be of "type": "object"')
    try:
        if len(msgspec.json.encode(found)) > SCHEMA_MAX:
            raise SchemaError(f"the schema has more than {SCHEMA_MAX} bytes")
        Draft202012Validator.check_schema(found)
    except NotASchema as error:
        raise SchemaError(f"not a JSON schema: {error.message[:_MESSAGE_MAX]}") from error
    except RecursionError as error:
        raise SchemaError("the schema is nested too deeply") from error
    return found


class Arguments:
    """Checks arguments by a schema that `parameters_of` has made."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        # A registry without a way to fetch: nothing is looked up outside.
        self._validator = Draft202012Validator(parameters, registry=Registry())

    def fault(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with the arguments, in a sentence; None where nothing is."""
        try:
            error = best_match(self._validator.iter_errors(arguments))
        except RecursionError:
            return "The arguments are nested too deeply."
        if error is None:
            return None
        place = ".".join(str(step) for step in error.absolute_path)
        where = f" at {place}" if place else ""
        return f"The arguments do not fit the schema{where}: {error.message[:_MESSAGE_MAX]}"


class _Inliner:
    """Replaces references within one document."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._nodes = 0

    def whole(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The schema without references."""
        made = self._walk(schema, (), 0)
        assert isinstance(made, dict)  # noqa: S101  # a mapping was given
        return made

    def _walk(self, node: Any, open_refs: tuple[str, ...], depth: int) -> Any:
        self._count(depth)
        if isinstance(node, Mapping):
            return self._schema(node, open_refs, depth)
        if isinstance(node, list):
            return [self._walk(item, open_refs, depth + 1) for item in node]
        return node

    def _schema(self, node: Mapping[str, Any], open_refs: tuple[str, ...], depth: int) -> Any:
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in node:
                raise SchemaError(f"{keyword} is not understood")
        rest = {
            name: self._member(name, value, open_refs, depth)
            for name, value in node.items()
            if name not in _LEFT_OUT
        }
        ref = node.get("$ref")
        if not isinstance(ref, str):
            return rest
        if ref in open_refs:
            raise SchemaError(f"the schema recurses at {ref[:64]!r}")
        named = self._walk(self._find(ref), (*open_refs, ref), depth + 1)
        return {**named, **rest} if isinstance(named, dict) else named

    def _member(self, name: str, value: Any, open_refs: tuple[str, ...], depth: int) -> Any:
        """Of some keywords the members' names are free, and of some the value is no schema."""
        if name in _VALUES:
            self._count_all(value, depth + 1)
            return value
        if name in _NAMED and isinstance(value, Mapping):
            return {
                str(key): self._walk(schema, open_refs, depth + 1) for key, schema in value.items()
            }
        return self._walk(value, open_refs, depth + 1)

    def _count_all(self, value: Any, depth: int) -> None:
        self._count(depth)
        inside = value.values() if isinstance(value, Mapping) else value
        for item in inside if isinstance(value, Mapping | list) else ():
            self._count_all(item, depth + 1)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise SchemaError(f"the schema is larger than {NODES_MAX} values")
        if depth > DEPTH_MAX:
            raise SchemaError(f"the schema is nested deeper than {DEPTH_MAX} levels")

    def _find(self, ref: str) -> Any:
        if ref != "#" and not ref.startswith("#/"):
            raise SchemaError(
                f"the $ref {ref[:64]!r} leads elsewhere, not to a part of the same schema (#/…)"
            )
        found = self._document
        for step in ref[2:].split("/") if ref != "#" else ():
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise SchemaError(f"the $ref {ref[:64]!r} leads nowhere")
        return found
