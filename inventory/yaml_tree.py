"""YAML as a tree whose every node knows its line, out of a file that nobody vouches for.

Built from the parser's events and not by recursion: depth and size are bounded before
anything is made of them, and an anchor counts as often as it is used. Pure.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import msgspec
import yaml

from inventory.faults import Fault, FaultsError, below

TEXT_MAX: Final = 1 << 20
DEPTH_MAX: Final = 32
NODES_MAX: Final = 50_000

_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null"))
# A date, or a lone `=`, is text here.
_TEXTS: Final = frozenset(_CORE + name for name in ("timestamp", "value"))
_MERGE: Final = _CORE + "merge"

Scalar = str | int | float | bool | None


class Node(msgspec.Struct, frozen=True):
    """A value and the line where it stands, that of its key where it has one. `size`: how
    many nodes it is when all anchors are written out."""

    line: int
    value: Scalar | list[Node] | dict[str, Node]
    size: int = 1

    def plain(self) -> Any:
        """The value without its lines."""
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return self.value


def read_tree(text: bytes, file: str) -> tuple[Node, list[Fault]]:
    """The tree, and the faults that leave one: duplicate keys, and keys that are not text.

    Raises FaultsError for a text that is too large or deep, or no YAML.
    """
    if len(text) > TEXT_MAX:
        raise FaultsError(file, [Fault(1, "", f"is larger than {TEXT_MAX >> 20} MiB")])
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise FaultsError(file, [Fault(line, "", "is not UTF-8 text")]) from error
    builder = _Builder(file)
    try:
        for event in yaml.parse(decoded, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        fault = Fault(mark.line + 1 if mark else 1, "", f"is not YAML: {what}")
        raise FaultsError(file, [fault]) from error
    except yaml.YAMLError as error:
        # The reader's own: a character that YAML does not allow.
        what = " ".join(str(error).split())
        raise FaultsError(file, [Fault(1, "", f"is not YAML: {what}")]) from error
    if builder.root is None:
        raise FaultsError(file, [Fault(1, "", "is empty")])
    return builder.root, builder.faults


class _Open:
    """A list or mapping that has begun and not ended."""

    def __init__(self, line: int, path: str, anchor: str | None, *, mapping: bool) -> None:
        self.line = line
        self.path = path
        self.anchor = anchor
        self.items: list[Node] = []
        self.members: dict[str, Node] | None = {} if mapping else None
        self.key: Node | None = None
        self.size = 1

    def next_path(self) -> str:
        """Where the next value belongs."""
        if self.members is None:
            return below(self.path, len(self.items))
        return below(self.path, str(self.key.value) if self.key else "")


class _Builder:
    """Takes the events of one document, in order."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._documents = 0
        # Knows what a plain scalar means; it reads nothing.
        self._resolver = yaml.SafeLoader("")

    def take(self, event: yaml.Event) -> None:
        """The next event. Raises FaultsError."""
        mark = event.start_mark
        line = mark.line + 1 if mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(line, "holds more than one document")
        elif isinstance(event, yaml.ScalarEvent):
            self._value(Node(line, self._scalar(event, line)), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._value(self._anchored(event.anchor or "", line), None)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()

    def _refuse(self, line: int, message: str) -> NoReturn:
        path = self._open[-1].path if self._open else ""
        raise FaultsError(self._file, [*self.faults, Fault(line, path, message)])

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        tag = event.tag
        if tag in (None, "!"):
            resolve: Any = self._resolver.resolve
            tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in _TEXTS and event.tag is None:
            return str(event.value)
        if tag == _MERGE:
            self._refuse(line, "merge keys (<<) are not offered; write the members out")
        if tag not in _SCALARS:
            self._refuse(line, "only text, numbers, true, false and null are known here")
        try:
            scalar: Scalar = self._resolver.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, yaml.YAMLError, KeyError):
            self._refuse(line, "is not a number that can be read")
        return scalar

    def _anchored(self, anchor: str, line: int) -> Node:
        if anchor not in self._anchors:
            self._refuse(line, f"no anchor before is called &{anchor}")
        node = self._anchors[anchor]
        if node is None:
            self._refuse(line, f"the alias *{anchor} stands inside of what it stands for")
        return msgspec.structs.replace(node, line=line)

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if len(self._open) >= DEPTH_MAX:
            self._refuse(line, f"is nested deeper than {DEPTH_MAX} levels")
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            self._refuse(line, "only plain mappings and lists are known here")
        above = self._open[-1] if self._open else None
        if above is not None and above.members is not None and above.key is None:
            self._refuse(line, "a key must be text")
        path = above.next_path() if above else ""
        self._open.append(_Open(line, path, event.anchor, mapping=mapping))
        if event.anchor:
            self._anchors[event.anchor] = None

    def _end(self) -> None:
        ended = self._open.pop()
        value = ended.items if ended.members is None else ended.members
        self._value(Node(ended.line, value, ended.size), ended.anchor)

    def _value(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        place = self._open[-1]
        place.size += node.size
        if place.size > NODES_MAX:
            self._refuse(node.line, f"is more than {NODES_MAX} values with its anchors written out")
        if place.members is None:
            place.items.append(node)
        elif place.key is None:
            place.key = node
        else:
            self._member(place, place.members, place.key, node)
            place.key = None

    def _member(self, place: _Open, members: dict[str, Node], key: Node, node: Node) -> None:
        if not isinstance(key.value, str):
            self._fault(key, place, "a key must be text; put it in quotes")
        elif key.value in members:
            first = members[key.value].line
            self._fault(key, place, f"the key {key.value!r} stands already in line {first}")
        else:
            members[key.value] = msgspec.structs.replace(node, line=key.line)

    def _fault(self, key: Node, place: _Open, message: str) -> None:
        self.faults.append(Fault(key.line, place.path, message))
