"""Every dashboard, in the order in which one would look."""

from __future__ import annotations

from observability.boards import brokers, control, engines, ingress, nodes, redis, slo, stream
from observability.boards.model import Board


def boards() -> tuple[Board, ...]:
    """All of them."""
    rooms = (slo, stream, brokers, ingress, engines, control, redis, nodes)
    return tuple(room.BOARD for room in rooms)
