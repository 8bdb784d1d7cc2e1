"""An engine, and a model's place on it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.grants import EngineKind, EngineTarget
from control_plane.fleet.readings import Load, Offer, Powers

# Whether jobs of a model may go to its place.
Condition = Literal["up", "drained", "down", "silent", "flapping", "absent", "failing", "trial"]


class Server(msgspec.Struct, kw_only=True):
    """One engine. `others`: requests that it runs for somebody else, as far as its metrics
    tell; `asked_at`: when the first health check was sent that has no good answer yet, Unix
    seconds; `silent`: it has left one unanswered for long."""

    url: str
    name: str
    kind: EngineKind
    load: Load = Load()
    offer: Offer = Offer()
    powers: dict[str, Powers] = {}
    others: int = 0
    others_seen: int = 0
    asked_at: float | None = None
    silent: bool = False
    unreachable_at: float | None = None


class Seat(msgspec.Struct, frozen=True):
    """A model on an engine. Those of a model with the same `rank` are equally good: they
    follow each other in its list and are of one kind. `context` in tokens, None: unbounded."""

    target: EngineTarget
    server: Server
    probe: str
    rank: int = 0
    context: int | None = None

    @property
    def name(self) -> str:
        """The engine's, in the inventory."""
        return self.target.name or self.server.name

    @property
    def key(self) -> tuple[str, str]:
        """Of its breaker."""
        return self.server.url, self.target.model


def url_of(target: EngineTarget) -> str:
    """How an engine is told from others."""
    return target.base_url.rstrip("/")
