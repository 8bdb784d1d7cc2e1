"""One picture of the cluster, made of many questions, and shared by all who look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from observability.boards import slo
from observability.boards.model import Panel
from observability.dash.answers import Series, Window, alerts, fill, series, shown, window
from observability.dash.prometheus import Prometheus, PrometheusError
from observability.dash.verdict import Felt, judge

MINUTES: Final = (5, 15, 60, 360, 1440)
# A picture is shown to everybody who asks within so many seconds.
FRESH_S: Final = 4.0

Answer = tuple[Panel, list[Series], str | None]


class Gathering:
    """Pictures by their span in minutes. `clock` gives Unix seconds; `interval_s`: how often
    Prometheus asks its targets."""

    def __init__(self, prometheus: Prometheus, interval_s: int, clock: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._interval_s = interval_s
        self._clock = clock
        self._kept: dict[int, tuple[float, dict[str, Any]]] = {}
        self._locks = {minutes: asyncio.Lock() for minutes in MINUTES}

    async def picture(self, minutes: int) -> dict[str, Any]:
        """Never raises: where Prometheus is away the picture says so. `minutes` is of MINUTES."""
        async with self._locks[minutes]:
            kept = self._kept.get(minutes)
            if kept is not None and 0 <= self._clock() - kept[0] < FRESH_S:
                return kept[1]
            made = await self._make(minutes)
            self._kept[minutes] = (self._clock(), made)
            return made

    async def _make(self, minutes: int) -> dict[str, Any]:
        span = window(self._clock(), minutes, self._interval_s)
        head = {"minutes": minutes, "start": span.start, "end": span.end, "step": span.step}
        try:
            url = await self._prometheus.choose()
            firing = alerts(await self._prometheus.ask(url, "/api/v1/alerts", {}))
        except (PrometheusError, ValueError) as error:
            return {**head, "away": f"Prometheus is away: {error}", "rows": [], "alerts": []}
        rows = await asyncio.gather(*(self._row(url, row.panels, span) for row in slo.BOARD.rows))
        verdict = judge(felt([answer for row in rows for answer in row]))
        return {
            **head,
            "away": None,
            "verdict": asdict(verdict),
            "alerts": [asdict(alert) for alert in firing],
            "rows": [
                {"title": row.title, "panels": [shown(*answer) for answer in answers]}
                for row, answers in zip(slo.BOARD.rows, rows, strict=True)
            ],
        }

    async def _row(self, url: str, panels: tuple[Panel, ...], span: Window) -> list[Answer]:
        return list(await asyncio.gather(*(self._panel(url, panel, span) for panel in panels)))

    async def _panel(self, url: str, panel: Panel, span: Window) -> Answer:
        lines: list[Series] = []
        try:
            for query in panel.queries:
                params = {
                    "query": fill(query.expr, span),
                    "start": f"{span.start:.0f}",
                    "end": f"{span.end:.0f}",
                    "step": str(span.step),
                }
                data = await self._prometheus.ask(url, "/api/v1/query_range", params)
                lines += series(query, data, span)
        except (PrometheusError, ValueError) as error:
            return panel, [], str(error)
        return panel, lines, None


def felt(answers: list[Answer]) -> Felt:
    """The newest figures of the SLO board's panels."""
    last = {panel.title: {line.name: line.last for line in lines} for panel, lines, _ in answers}
    ttft, jitter, stalls, success = (panel.title for panel in slo.NOW.panels)
    hops, *_, standing, jitters = (panel.title for panel in slo.HOPS.panels)

    def one(title: str) -> float | None:
        return next(iter(last.get(title, {}).values()), None)

    return Felt(
        ttft=one(ttft),
        jitter=one(jitter),
        stalls=one(stalls),
        success=one(success),
        engine_jitter=last.get(jitters, {}).get("engine → broker"),
        engine_stalls=last.get(standing, {}).get("engine → broker"),
        hops=last.get(hops, {}),
    )
