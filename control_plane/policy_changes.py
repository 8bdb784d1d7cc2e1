"""A policy as it is shown to an operator, and how one differs from another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from control_plane.policy_document import PolicyDocument
from inventory.faults import below

HIDDEN: Final = "…"
_ABSENT: Final = object()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One member that is another: `before` and `after` as they are shown, None: not there."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def shown(document: PolicyDocument) -> dict[str, Any]:
    """The whole document as plain data; the values of a tool's headers are hidden."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    for tool in plain["tools"].values():
        if "headers" in tool:
            tool["headers"] = dict.fromkeys(tool["headers"], HIDDEN)
    return plain


def changes(before: PolicyDocument, after: PolicyDocument) -> list[Change]:
    """What `after` changes, in order of the file's parts; lists count as a whole."""
    found = _differences((), msgspec.to_builtins(before), msgspec.to_builtins(after))
    return [_change(steps, shown(before), shown(after)) for steps in found]


def _differences(steps: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[str, ...]]:
    if before == after:
        return
    if not isinstance(before, dict) or not isinstance(after, dict) or _kind(before, after):
        yield steps
        return
    for name in [*after, *(name for name in before if name not in after)]:
        yield from _differences((*steps, name), before.get(name, _ABSENT), after.get(name, _ABSENT))


def _kind(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Is it a tool that has become one of another kind?"""
    return "kind" in before and "kind" in after and before["kind"] != after["kind"]


def _change(steps: tuple[str, ...], before: Any, after: Any) -> Change:
    old, new = _at(before, steps), _at(after, steps)
    path = below("", *steps)
    if old is _ABSENT:
        return Change(path=path, change="added", after=new)
    if new is _ABSENT:
        return Change(path=path, change="removed", before=old)
    return Change(path=path, change="changed", before=old, after=new)


def _at(document: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if not isinstance(document, dict) or step not in document:
            return _ABSENT
        document = document[step]
    return document
