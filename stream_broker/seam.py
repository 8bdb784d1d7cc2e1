"""Where a text is cut to be continued by another engine, and how the parts are joined. Pure."""

from __future__ import annotations

from stream_broker.engines.deltas import Delta, Text

# What engines say in place of a character of which they had only some bytes.
_BROKEN = "\ufffd"


def cut(text: str, *, trims: bool) -> tuple[str, str]:
    """`text` as the prefix to continue from, and white space at its end that counts for nothing.

    An engine that `trims` does not see that white space and says it again, for `Seam` to
    leave out; a text of nothing else is no prefix. Half a character at the end is left to
    the engine, which is to say the whole one.
    """
    whole = text.rstrip(_BROKEN)
    visible = whole.rstrip()
    if not visible:
        return "", whole
    return whole, whole[len(visible) :] if trims else ""


class Seam:
    """Leaves out of a continuation the white space that stands before it already."""

    def __init__(self, tail: str) -> None:
        self._tail = tail

    def take(self, deltas: list[Delta]) -> list[Delta]:
        """`deltas` without what the text so far ends in."""
        return [kept for delta in deltas if (kept := self._without(delta)) is not None]

    def _without(self, delta: Delta) -> Delta | None:
        if not self._tail or not isinstance(delta, Text):
            return delta
        said = delta.text
        known = _shared(self._tail, said)
        self._tail = self._tail[known:] if known == len(said) else ""
        return Text(said[known:]) if known < len(said) else None


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
