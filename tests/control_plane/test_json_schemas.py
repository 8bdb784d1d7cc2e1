"""Schemas of tools: what engines can compile, and what would never end."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.json_schemas import DEPTH_MAX, NODES_MAX, schema_fault

POINT = {"type": "object", "properties": {"x": {"type": "number"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def fan_out(levels: int) -> dict[str, Any]:
    """Each definition uses the next one twice: small as a text, huge written out."""
    defs: dict[str, Any] = {f"d{levels}": {"type": "string"}}
    for n in range(levels):
        following = {"$ref": f"#/$defs/d{n + 1}"}
        defs[f"d{n}"] = {"anyOf": [following] * 4}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        POINT,
        nested(DEPTH_MAX // 2 - 1),
        {"type": "object", "properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": POINT}},
        # Twice is not in a circle.
        {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/a~1b"}, "q": {"$ref": "#/$defs/a~1b"}},
            "$defs": {"a/b": POINT},
        },
        # A property that is called so is no reference.
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
    ],
)
def test_a_sound_schema_has_no_fault(schema: dict[str, Any]) -> None:
    assert schema_fault(schema) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (None, "type: object"),
        ([], "type: object"),
        ({}, "type: object"),
        ({"type": "array"}, "type: object"),
        (nested(DEPTH_MAX), f"nested deeper than {DEPTH_MAX} levels"),
        ({"type": "object", "enum": [1] * NODES_MAX}, f"larger than {NODES_MAX} values"),
        (fan_out(6), "larger than"),
        ({"type": "object", "$ref": "#"}, "recurses at '#'"),
        ({"type": "object", "properties": {"a": {"$ref": "#/properties"}}}, "recurses"),
        ({"type": "object", "$ref": "http://x/y"}, "a part of the same schema"),
        ({"type": "object", "$ref": "#/$defs/none"}, "leads nowhere"),
        ({"type": "object", "$ref": "#/type/x"}, "leads nowhere"),
    ],
)
def test_what_an_engine_could_choke_on_is_refused(schema: Any, fault: str) -> None:
    assert fault in (schema_fault(schema) or "")
