"""Whether spans are told at all. What it takes to tell them is imported only then: every
process would else carry it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from inventory.settings import Settings
from observability.traces import Span


class Tells(Protocol):
    """Takes spans."""

    def tell(self, spans: Iterable[Span]) -> None:
        """Returns at once; whether they arrive is not said."""
        ...

    def close(self) -> None:
        """Sends what waits, for as long as one attempt takes."""
        ...


def exporter_of(settings: Settings, service: str, node: str) -> Tells | None:
    """What sends spans to `otlp_endpoint`, where one is set."""
    if not settings.otlp_endpoint:
        return None
    from observability.otlp import Otlp

    return Otlp(settings.otlp_endpoint, service, node)
