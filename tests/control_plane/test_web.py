"""JSON in: what is wrong is told by code and field."""

from __future__ import annotations

import msgspec
import pytest

from contracts.problems import ProblemError
from control_plane.web import parse


class Inner(msgspec.Struct):
    count: int


class Outer(msgspec.Struct):
    inner: Inner
    names: list[str] = []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b"{}", "inner"),
        (b'{"inner": {}}', "inner.count"),
        (b'{"inner": {"count": "1"}}', "inner.count"),
        (b'{"inner": {"count": true}}', "inner.count"),
        (b'{"inner": {"count": 1}, "names": ["a", 2]}', "names[1]"),
    ],
)
def test_a_wrong_shape_names_its_place(body: bytes, field: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        parse(body, Outer)
    assert (caught.value.code, caught.value.field) == ("invalid_request", field)
    assert "$" not in caught.value.detail


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b'{"inner": {"count": 1}} x', b'{"a":' * 100_000, b'{"names": ["\xff"]}'],
)
def test_what_is_no_json_is_told_so(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        parse(body, Outer)
    assert caught.value.code == "invalid_json"


def test_unknown_members_are_left_for_the_future() -> None:
    assert parse(b'{"inner": {"count": 1, "new": {}}, "more": 1}', Outer).inner.count == 1
