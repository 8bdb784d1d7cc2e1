"""Schemas of tools: what engines can compile, and what would never end."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.json_schemas import (
    DEPTH_MAX,
    NODES_MAX,
    SCHEMA_MAX,
    Arguments,
    SchemaError,
    parameters_of,
    schema_fault,
)

POINT = {"type": "object", "properties": {"x": {"type": "number"}}}

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


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
        ({"type": "object", "properties": {"a": {"type": "strnig"}}}, "not a JSON schema"),
        ({"type": "object", "description": "x" * SCHEMA_MAX}, "bytes"),
    ],
)
def test_what_an_engine_could_choke_on_is_refused(schema: Any, fault: str) -> None:
    assert fault in (schema_fault(schema) or "")


def test_a_plain_schema_stays_as_it_is() -> None:
    assert parameters_of(CITY) == CITY
    assert parameters_of({}) == {"type": "object", "properties": {}}


def test_references_are_replaced_by_what_they_name() -> None:
    schema = {
        "properties": {
            "from": {"$ref": "#/$defs/place", "description": "where"},
            "to": {"prefixItems": [{"$ref": "#/definitions/a~1b"}]},
        },
        "$defs": {"place": {"type": "string"}},
        "definitions": {"a/b": {"$ref": "#/$defs/place"}},
    }
    assert parameters_of(schema) == {
        "type": "object",
        "properties": {
            "from": {"type": "string", "description": "where"},
            "to": {"prefixItems": [{"type": "string"}]},
        },
    }


def test_parameters_may_be_called_as_keywords_are() -> None:
    named = {"$ref": {"type": "string"}, "definitions": {"type": "string"}, "enum": {}}
    schema = {"type": "object", "properties": named, "required": ["definitions"]}
    assert parameters_of(schema) == schema


def test_values_are_no_schemas() -> None:
    schema = {"properties": {"a": {"default": {"$ref": "#/nowhere"}, "enum": [{"$ref": "x"}]}}}
    assert parameters_of(schema)["properties"] == schema["properties"]


def doubling(levels: int) -> dict[str, Any]:
    """Small to write, huge once every reference is replaced."""
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, levels):
        ref = {"$ref": f"#/$defs/d{n - 1}"}
        defs[f"d{n}"] = {"properties": {"a": ref, "b": ref, "c": ref}}
    return {"properties": {"x": {"$ref": f"#/$defs/d{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "must be a JSON schema"),
        ([], "must be a JSON schema"),
        ("object", "must be a JSON schema"),
        ({"type": "string"}, "must be of"),
        ({"type": "obj"}, "must be of"),
        ({"properties": {"a": {"type": "strnig"}}}, "not a JSON schema"),
        ({"properties": {"a": {"minLength": "x"}}}, "not a JSON schema"),
        ({"$ref": "#"}, "recurses"),
        ({"properties": {"a": {"$ref": "#"}}}, "recurses"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "recurses"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}},
            },
            "recurses",
        ),
        ({"$ref": "http://127.0.0.1/x"}, "elsewhere"),
        ({"$ref": "other.json"}, "elsewhere"),
        ({"$ref": "#anchor"}, "elsewhere"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#/properties/0"}, "nowhere"),
        ({"$dynamicRef": "#x"}, "not understood"),
        (nested(90), "nested deeper"),
        (doubling(30), "nested deeper|larger than"),
        ({"description": "x" * SCHEMA_MAX}, "more than"),
    ],
)
def test_what_cannot_be_offered_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        parameters_of(schema)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "city"),
        ({"city": 1}, "at city"),
        ({"city": None}, "at city"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments: dict[str, Any], why: str) -> None:
    fault = Arguments(parameters_of(CITY)).fault(arguments)
    assert fault is not None
    assert why in fault


def test_arguments_that_fit_have_no_fault() -> None:
    assert Arguments(parameters_of(CITY)).fault({"city": "x", "more": 1}) is None


def test_an_explanation_is_short() -> None:
    fault = Arguments(parameters_of(CITY)).fault({"city": ["x" * 10_000]})
    assert fault is not None
    assert len(fault) < 500
