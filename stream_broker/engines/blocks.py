"""Cutting a byte stream at a separator, wherever the reads happen to split it."""

from __future__ import annotations


class BlockCutter:
    """Bytes in, whole blocks out; a block does not contain the separator that ends it.

    A block longer than `limit` sets `too_long`: it and all that follows are gone, the
    blocks before it are still returned. What follows the last separator waits for more;
    at the end of the stream it is dropped with the cutter. Costs are linear in the
    bytes, however small the reads.
    """

    __slots__ = ("_limit", "_rest", "_separator", "too_long")

    def __init__(self, separator: bytes, limit: int) -> None:
        self._separator = separator
        self._limit = limit
        self._rest = bytearray()
        self.too_long = False

    def cut(self, data: bytes) -> list[bytes]:
        """The blocks that `data` completes, in order."""
        if self.too_long:
            return []
        if self._rest:
            whole = self._join(data)
            if whole is None:
                return []
            data = whole
        blocks = data.split(self._separator)
        rest = blocks.pop()
        if len(data) > self._limit:
            blocks = self._within_limit(blocks)
        if rest and not self.too_long:
            self._rest += rest
            self._check_rest()
        return blocks

    def _join(self, data: bytes) -> bytes | None:
        """What waits plus `data`; None if that completes no block either."""
        rest = self._rest
        unsearched = max(len(rest) - len(self._separator) + 1, 0)
        rest += data
        if rest.find(self._separator, unsearched) < 0:
            self._check_rest()
            return None
        whole = bytes(rest)
        rest.clear()
        return whole

    def _check_rest(self) -> None:
        """The rest may end in the beginning of a separator, which is no part of the block."""
        length = len(self._rest)
        if self._rest.endswith(self._separator[:-1]):
            length -= len(self._separator) - 1
        if length > self._limit:
            self.too_long = True
            self._rest = bytearray()

    def _within_limit(self, blocks: list[bytes]) -> list[bytes]:
        for index, block in enumerate(blocks):
            if len(block) > self._limit:
                self.too_long = True
                return blocks[:index]
        return blocks
