"""What an operator would have seen: the alerts of a Prometheus and a panel of a board, by time."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from observability.boards.all import boards
from observability.boards.model import Query
from observability.slo import WATCHDOG
from tests.observability.exprs import asked

_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sight:
    """The line of a panel on which a fault is to be seen. `job`: of several lines those of that
    label; `lost`: by what falls, not grows."""

    board: str
    panel: str
    legend: str
    beyond: float
    job: str = ""
    lost: bool = False

    def query(self) -> Query:
        """As the panel asks it. Raises StopIteration where there is none."""
        board = next(board for board in boards() if board.uid == self.board)
        panel = next(panel for panel in board.panels() if panel.title == self.panel)
        return next(query for query in panel.queries if query.legend == self.legend)

    def shows(self, value: float | None) -> bool:
        """Is the fault to be seen at such a value?"""
        if value is None:
            return False
        return value < self.beyond if self.lost else value > self.beyond


@dataclass
class Alarms:
    """When alerts began to fire and ended, monotonic seconds, by their names; `pending` are
    those that were about to."""

    fired: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)

    def look(self, alerts: list[dict[str, Any]], now: float) -> None:
        """What Prometheus says now."""
        named = [(alert["labels"]["alertname"], alert["state"]) for alert in alerts]
        firing = {name for name, state in named if state == "firing"} - {WATCHDOG}
        self.pending |= {name for name, state in named if state == "pending"}
        for name in firing:
            self.fired.setdefault(name, now)
            self.ended.pop(name, None)
        for name in self.fired.keys() - firing:
            self.ended.setdefault(name, now)


class Prometheus:
    """One that is asked again and again. `window`: of the rates on panels."""

    def __init__(self, http: httpx.AsyncClient, url: str, window: str) -> None:
        self._http = http
        self._url = url
        self._window = window
        self.alarms = Alarms()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            said = await self._ask("alerts", {})
            self.alarms.look(said["alerts"], time.monotonic())
            await asyncio.sleep(_LOOK_S)

    async def value(self, sight: Sight) -> float | None:
        """The worst of the lines now; None where there is none."""
        expr = asked(sight.query().expr, self._window)
        result = (await self._ask("query", {"query": expr}))["result"]
        its = [item for item in result if sight.job in ("", item["metric"].get("job"))]
        values = [float(item["value"][1]) for item in its]
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        return min(finite) if sight.lost else max(finite)

    async def up(self, targets: int) -> bool:
        """Have so many targets been asked, and answered?"""
        result = (await self._ask("query", {"query": 'up{job=~"okome-.*|haproxy"}'}))["result"]
        return len(result) >= targets and all(item["value"][1] == "1" for item in result)

    async def _ask(self, what: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = await self._http.get(f"{self._url}/api/v1/{what}", params=parameters)
        found: dict[str, Any] = answer.raise_for_status().json()["data"]
        return found
