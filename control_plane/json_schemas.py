"""What is accepted as a JSON schema of a tool's arguments. Pure."""

from __future__ import annotations

from typing import Any, Final

DEPTH_MAX: Final = 32
NODES_MAX: Final = 2_000


def schema_fault(schema: Any) -> str | None:
    """Why `schema` cannot describe the arguments of a tool, or None where it can.

    It is an object's, at most DEPTH_MAX levels deep and NODES_MAX values large when its
    references are written out; those are to its own parts (`#/…`) and never recurse, because
    engines compile schemas and each of them fails on these in its own way.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "expected a JSON schema with `type: object`"
    walk = _Walk(schema)
    try:
        walk.visit(schema, 0, ())
    except _SchemaError as error:
        return str(error)
    return None


class _SchemaError(Exception):
    pass


class _Walk:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._seen = 0

    def visit(self, value: Any, depth: int, inside: tuple[str, ...]) -> None:
        """`inside`: the references that led here."""
        self._seen += 1
        if self._seen > NODES_MAX:
            raise _SchemaError(f"the schema is larger than {NODES_MAX} values")
        if depth > DEPTH_MAX:
            raise _SchemaError(f"the schema is nested deeper than {DEPTH_MAX} levels")
        if isinstance(value, list):
            for item in value:
                self.visit(item, depth + 1, inside)
        elif isinstance(value, dict):
            for name, item in value.items():
                # Definitions count where they are used.
                if name not in ("$defs", "definitions"):
                    self.visit(item, depth + 1, inside)
            reference = value.get("$ref")
            if isinstance(reference, str):
                self._follow(reference, depth, inside)

    def _follow(self, reference: str, depth: int, inside: tuple[str, ...]) -> None:
        if reference in inside:
            raise _SchemaError(f"the schema recurses at {reference[:64]!r}")
        self.visit(self._target(reference), depth + 1, (*inside, reference))

    def _target(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise _SchemaError("a $ref must be to a part of the same schema (#/…)")
        if reference == "#":
            raise _SchemaError("the schema recurses at '#'")
        found: Any = self._root
        for step in reference[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or step not in found:
                raise _SchemaError(f"the $ref {reference[:64]!r} leads nowhere")
            found = found[step]
        return found
