from __future__ import annotations

from typing import Any

import pytest

from control_plane.tools.schemas import SCHEMA_MAX, Arguments, SchemaError, parameters_of

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


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


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


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
        (deep(90), "too deep"),
        (doubling(30), "too deep or too large"),
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
