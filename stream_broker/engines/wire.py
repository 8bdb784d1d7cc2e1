"""What every parser of an engine's stream offers."""

from __future__ import annotations

from typing import Protocol

from contracts.grants import Usage
from stream_broker.engines.deltas import Delta


class WireParser(Protocol):
    """The body of a streamed answer, in any pieces, to deltas.

    The last delta of all is a Finish or a Failure; after it every call returns nothing.
    Never raises, whatever the engine sends.
    """

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes."""
        ...

    def eof(self, complete: bool) -> list[Delta]:
        """The end of the body; `complete` if HTTP says that nothing is missing."""
        ...

    def usage(self) -> Usage | None:
        """The engine's last count so far; None where it has told none. At any time."""
        ...
