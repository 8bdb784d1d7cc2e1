"""Reads a policy file: text in, a checked `PolicyDocument` or all its faults out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from control_plane.policy_checks import Names, cross_faults
from control_plane.policy_document import HttpTool, PolicyDocument
from control_plane.rulebook import engine_names
from control_plane.tools.base import ToolsError
from control_plane.tools.http_plan import planned
from inventory.faults import Fault, FaultsError, below
from inventory.model import Cluster
from inventory.shape import WRONG, Shaper
from inventory.yaml_tree import TEXT_MAX, Node, read_tree


class _PolicyShaper(Shaper):
    def rest(self, part: type[msgspec.Struct], found: dict[str, Any], path: str) -> Any:
        """Of the whole file what is sound, so that the rest can be checked too."""
        return part(**({"version": 1, "models": {}} | found)) if path == "" else WRONG


def read_policy(
    text: bytes, file: str, cluster: Cluster | None, base: Path | None = None
) -> PolicyDocument:
    """The document. `file` is what messages call it; without a `cluster` engines may have any
    name. With a `base` the files that its tools name are read too, from there: a running
    control plane goes on without a tool whose file is wrong. Raises FaultsError."""
    root, faults = read_tree(text, file)
    shaper = _PolicyShaper()
    document = shaper.shape(root, PolicyDocument, "")
    faults += shaper.faults
    if document is not WRONG:
        faults += cross_faults(document, _names(root, cluster), shaper.lines)
        if base is not None and not faults:
            faults += _described_faults(document, base, shaper.lines)
    if faults:
        raise FaultsError(file, faults)
    checked: PolicyDocument = document
    return checked


def read_file(path: Path, cluster: Cluster | None) -> PolicyDocument:
    """The document in a file, and with it the files that it names. Raises FaultsError."""
    return read_policy(file_text(path), str(path), cluster, path.parent)


def file_text(path: Path) -> bytes:
    """A file, as far as it can be needed. Raises FaultsError."""
    try:
        # Anything else might never end, or never begin.
        if path.exists() and not path.is_file():
            raise FaultsError(str(path), [Fault(1, "", "is not a file")])
        with path.open("rb") as file:
            return file.read(TEXT_MAX + 1)
    except OSError as error:
        fault = Fault(1, "", f"cannot be read: {error.strerror}")
        raise FaultsError(str(path), [fault]) from error


def _described_faults(
    document: PolicyDocument, base: Path, lines: Mapping[str, int]
) -> Iterator[Fault]:
    for name, tool in document.tools.items():
        try:
            if isinstance(tool, HttpTool):
                planned(tool, base)
        except ToolsError as error:
            path = below("tools", name, *filter(None, [error.member]))
            line = lines.get(path) or lines.get(below("tools", name), 1)
            yield Fault(line, path, str(error))


def _names(root: Node, cluster: Cluster | None) -> Names:
    return Names(
        models=_keys(root, "models"),
        aliases=_keys(root, "aliases"),
        tiers=_keys(root, "tiers"),
        gpus=_keys(root, "gpus"),
        tools=_keys(root, "tools"),
        engines=None if cluster is None else engine_names(cluster),
    )


def _keys(root: Node, part: str) -> frozenset[str]:
    node = root.value.get(part) if isinstance(root.value, dict) else None
    return frozenset(node.value if node is not None and isinstance(node.value, dict) else ())
