"""What a client may ask for, and what is told of anything else."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.problems import ProblemError
from stream_broker.embeddings.request import INPUTS_MAX, embedding_spec


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ("a text", ["a text"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_an_input_has_four_shapes(given: Any, items: Any) -> None:
    spec = embedding_spec({"model": "m", "input": given, "user": "u", "unknown": 1})
    assert spec.items == items
    assert (spec.encoding, spec.dimensions) == ("float", None)


def test_the_rest_is_taken_as_the_sdk_sends_it() -> None:
    asked = {"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 3}
    spec = embedding_spec(asked)
    assert (spec.encoding, spec.dimensions) == ("base64", 3)
    assert embedding_spec(asked | {"encoding_format": None}).encoding == "float"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input": ""}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[0][1]"),
        ({"input": [[1], "a"]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [-1]}, "input[0][0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": True}, "input"),
        ({"input": ["a"] * (INPUTS_MAX + 1)}, "input"),
        ({"input": [0] * 9000}, "input[0]"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"),
        ({"model": ""}, "model"),
        ({"user": 7}, "user"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ProblemError) as raised:
        embedding_spec({"model": "m", "input": "a"} | changes)
    assert (raised.value.code, raised.value.field) == ("invalid_request", field)


def test_tokens_are_estimated_from_the_size() -> None:
    assert embedding_spec({"model": "m", "input": ["abcdefgh", "a"]}).tokens_estimate == 4
    assert embedding_spec({"model": "m", "input": [1, 2, 3]}).tokens_estimate == 4
