"""A tree of YAML as types, with every fault and not only the first. Pure."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from inventory.faults import Fault, below, one_of
from inventory.yaml_tree import Node

# What a wrong part becomes, until its container leaves it out.
WRONG: Final = object()

_UNIONS: Final = (typing.Union, types.UnionType)


class Shaper:
    """Shapes one file: `faults` found on the way, and the line of every path."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.lines: dict[str, int] = {}
        self._fields: dict[type[msgspec.Struct], dict[str, FieldInfo]] = {}

    def shape(self, node: Node, kind: Any, path: str) -> Any:
        """`node` as `kind`, or WRONG. Entries of a mapping or list that are wrong are left
        out of it; a part with a wrong member is wrong."""
        self.lines.setdefault(path, node.line)
        origin = get_origin(kind)
        if origin in _UNIONS:
            return self._one_of(node, get_args(kind), path)
        bare = get_args(kind)[0] if origin is Annotated else kind
        if bare is Any:
            return node.plain()
        if get_origin(bare) is list:
            return self._list(node, kind, bare, path)
        if get_origin(bare) is dict:
            return self._dict(node, bare, path)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self._part(node, bare, path)
        return self._leaf(node, kind, path)

    def fault(self, node: Node, path: str, message: str) -> Any:
        """Notes a fault; WRONG."""
        self.faults.append(Fault(node.line, path, message))
        return WRONG

    def _one_of(self, node: Node, kinds: tuple[Any, ...], path: str) -> Any:
        if node.value is None and type(None) in kinds:
            return None
        some = [kind for kind in kinds if kind is not type(None)]
        if len(some) == 1:
            return self.shape(node, some[0], path)
        config = some[0].__struct_config__
        tags = {kind.__struct_config__.tag: kind for kind in some}
        tag = node.value.get(config.tag_field) if isinstance(node.value, dict) else None
        if tag is None:
            expected = f"expected a mapping with `{config.tag_field}`, one of {one_of([*tags])}"
            return self.fault(node, path, expected)
        chosen = tags.get(tag.value) if isinstance(tag.value, str) else None
        if chosen is None:
            place = below(path, config.tag_field)
            return self.fault(tag, place, f"expected one of {one_of([*tags])}")
        return self._part(node, chosen, path)

    def _list(self, node: Node, kind: Any, bare: Any, path: str) -> Any:
        if not isinstance(node.value, list):
            return self.fault(node, path, f"expected a list, not {_what(node.value)}")
        before = len(self.faults)
        (item,) = get_args(bare)
        found = [self.shape(n, item, below(path, at)) for at, n in enumerate(node.value)]
        least, most = _meta(kind, "min_length") or 0, _meta(kind, "max_length")
        if not least <= len(found) <= (len(found) if most is None else most):
            self.fault(node, path, f"expected {least} to {most} entries, not {len(found)}")
        return WRONG if len(self.faults) > before else found

    def _dict(self, node: Node, bare: Any, path: str) -> Any:
        if not isinstance(node.value, dict):
            return self.fault(node, path, f"expected a mapping, not {_what(node.value)}")
        name, kind = get_args(bare)
        found = {}
        for key, entry in node.value.items():
            place = below(path, key)
            good = self._leaf(Node(entry.line, key), name, place)
            value = self.shape(entry, kind, place)
            if good is not WRONG and value is not WRONG:
                found[key] = value
        return found

    def _part(self, node: Node, part: type[msgspec.Struct], path: str) -> Any:
        fields = self._fields_of(part)
        members = node.value
        if members is None and not any(field.required for field in fields.values()):
            members = {}
        if not isinstance(members, dict):
            return self.fault(node, path, f"expected a mapping, not {_what(members)}")
        before = len(self.faults)
        found: dict[str, Any] = {}
        for key, entry in members.items():
            if key in fields:
                # A member with nothing behind it, its lines commented out, is one left out.
                if entry.value is not None or fields[key].required:
                    found[key] = self.shape(entry, fields[key].type, below(path, key))
            elif key != part.__struct_config__.tag_field:
                self.stray(part, key, entry, below(path, key))
        for field in fields.values():
            if field.required and field.name not in found:
                self.fault(node, path, f"`{field.name}` is missing")
        if len(self.faults) > before:
            found = {name: value for name, value in found.items() if value is not WRONG}
            return self.rest(part, found, path)
        return part(**found)

    def _fields_of(self, part: type[msgspec.Struct]) -> dict[str, FieldInfo]:
        # To find out their types takes longer than all the rest.
        if part not in self._fields:
            self._fields[part] = {field.name: field for field in msgspec.structs.fields(part)}
        return self._fields[part]

    def stray(self, part: type[msgspec.Struct], _key: str, entry: Node, path: str) -> None:
        """A member that the part does not have: a fault, where a file does not allow more."""
        known = one_of([*self._fields_of(part)])
        self.fault(entry, path, f"is not known here; expected one of {known}")

    def rest(self, _part: type[msgspec.Struct], _found: dict[str, Any], _path: str) -> Any:
        """What a part with a wrong member becomes; `_found` has the sound ones."""
        return WRONG

    def _leaf(self, node: Node, kind: Any, path: str) -> Any:
        value = node.value
        # To YAML 1.1 a bare `off` is false.
        if value is False and get_origin(kind) is Literal and "off" in get_args(kind):
            value = "off"
        if isinstance(value, list | dict):
            return self.fault(node, path, f"expected {_expected(kind)}, not {_what(value)}")
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return self.fault(node, path, f"expected {_expected(kind)}{_told(value, kind)}")


def _meta(kind: Any, name: str) -> Any:
    for meta in getattr(kind, "__metadata__", ()):
        found = getattr(meta, name, None)
        if found is not None:
            return found
    return None


def _expected(kind: Any) -> str:
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if described := _meta(kind, "description"):
        return str(described)
    if get_origin(bare) is Literal:
        words = [str(word) for word in get_args(bare)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if bare in (int, float):
        noun = "a whole number" if bare is int else "a number"
        over, least, most = (_meta(kind, bound) for bound in ("gt", "ge", "le"))
        start = f" above {over}" if over is not None else f" from {least}"
        end = f" {'and up ' if over is not None else ''}to {most}"
        return noun + (start + end if most is not None else "")
    if bare is bool:
        return "true or false"
    longest = _meta(kind, "max_length")
    return f"text of at most {longest} characters" if longest else "text"


def _told(value: Any, kind: Any) -> str:
    """What stands there instead: numbers as they are, and no text, which may be a secret."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if bare is not str and isinstance(value, int | float) and not isinstance(value, bool):
        return f", not {str(value)[:32]}"
    if bare is str and value is not None and not isinstance(value, str):
        return f", not {_what(value)}; put it in quotes if it is meant as text"
    return (
        "" if isinstance(value, str) and bare not in (int, float, bool) else f", not {_what(value)}"
    )


def _what(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "a mapping"}
    return names.get(type(value), "nothing")
