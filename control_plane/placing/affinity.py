"""The same conversation to the same engine, where its beginning is cached already. Pure."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

REMEMBERED: Final = 10_000


def score(affinity: str, url: str) -> bytes:
    """Rendezvous hashing: the engine with the highest score has the conversation. One that
    leaves moves only those that it had."""
    return blake2b(f"{affinity}\0{url}".encode(), digest_size=8).digest()


class Affinities:
    """Where the conversations of late were. The oldest go first when there are too many:
    those find their engine by its score again."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._urls: OrderedDict[tuple[str, str], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._urls)

    def get(self, model: str, affinity: str | None) -> str | None:
        """The engine of a conversation's last job with this model."""
        return None if affinity is None else self._urls.get((model, affinity))

    def put(self, model: str, affinity: str | None, url: str) -> None:
        """Its last job went there."""
        if affinity is None:
            return
        self._urls[(model, affinity)] = url
        self._urls.move_to_end((model, affinity))
        if len(self._urls) > self._most:
            self._urls.popitem(last=False)
