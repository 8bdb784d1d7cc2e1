"""Cases of the wire contract as data, and what fits an expectation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """What an engine says of one job, and what is then asked and answered.

    `api` is how the job is made: `jobs` or `completions`; `request` are further members.
    """

    name: str
    file: str
    engine: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    api: str = "jobs"
    request: dict[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> bool:
        """Does the job end by itself?"""
        return {"hold": True} not in self.engine


def all_cases() -> list[Case]:
    """Every case of every file."""
    return [
        Case(file=path.stem, **members)
        for path in sorted(FOLDER.glob("*.yml"))
        for members in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]


def check(expected: Any, actual: Any, where: str = "") -> None:
    """AssertionError where `actual` does not fit.

    `"*"` fits anything, `"<number>"` any number; a mapping with the member `...` may have
    more members than are named.
    """
    if expected == "*":
        return
    if expected == "<number>":
        assert isinstance(actual, (int, float)), f"{where}: no number: {actual!r}"
        assert not isinstance(actual, bool), f"{where}: no number: {actual!r}"
    elif isinstance(expected, dict):
        _check_members(expected, actual, where)
    elif isinstance(expected, list):
        assert isinstance(actual, list), f"{where}: no list: {actual!r}"
        assert len(expected) == len(actual), f"{where}: {len(actual)} items: {actual!r}"
        for number, pair in enumerate(zip(expected, actual, strict=True)):
            check(*pair, where=f"{where}[{number}]")
    else:
        same = type(expected) is type(actual) and expected == actual
        assert same, f"{where}: {actual!r}, not {expected!r}"


def _check_members(expected: dict[str, Any], actual: Any, where: str) -> None:
    assert isinstance(actual, dict), f"{where}: no object: {actual!r}"
    wanted = set(expected) - {"..."}
    extra = set() if "..." in expected else set(actual) - wanted
    assert wanted <= set(actual), f"{where}: lacks {wanted - set(actual)}: {actual!r}"
    assert not extra, f"{where}: has {extra} too: {actual!r}"
    for name in wanted:
        check(expected[name], actual[name], f"{where}.{name}")


def filled(value: Any, **placeholders: Any) -> Any:
    """`value` with every `"<name>"` replaced, at any depth."""
    if isinstance(value, dict):
        return {key: filled(member, **placeholders) for key, member in value.items()}
    if isinstance(value, list):
        return [filled(member, **placeholders) for member in value]
    if isinstance(value, str) and value[:1] == "<" and value[1:-1] in placeholders:
        return placeholders[value[1:-1]]
    return value
