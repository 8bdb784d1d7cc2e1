"""What Prometheus answered, made into what the page shows: pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from observability.boards.model import Panel, Query
from observability.slo import WATCHDOG

# More than a chart has pixels for is no use to anybody.
POINTS: Final = 120
# Lines in one chart; with more nobody sees anything.
SERIES_MAX: Final = 24
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end` (Unix seconds), a point every `step` seconds; `rate` is the span
    in seconds over which rates are taken."""

    start: float
    end: float
    step: int
    rate: int


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `last` is its newest value, None where that is older than five minutes."""

    name: str
    points: tuple[Point, ...]
    last: float | None


@dataclass(frozen=True, slots=True)
class Alert:
    """One that fires. `since`: Unix seconds; `place`: what its labels say of where it is."""

    name: str
    severity: str
    summary: str
    place: str
    since: str
    runbook: str


def window(now: float, minutes: int, interval_s: int) -> Window:
    """The last so many minutes; the ends fall on whole steps, so that pictures do not tremble."""
    step = max(interval_s, math.ceil(minutes * 60 / POINTS))
    end = now - now % step
    # As Grafana has it: never shorter than four questions to a target.
    return Window(end - minutes * 60, end, step, max(4 * interval_s, step + interval_s))


def fill(expr: str, span: Window) -> str:
    """A query of a board with Grafana's words filled in."""
    return expr.replace("$__rate_interval", f"{span.rate}s").replace("$node", ".*")


def series(query: Query, data: Any, span: Window) -> list[Series]:
    """The lines of a range query's `data`. Raises ValueError for what is none."""
    try:
        if data["resultType"] != "matrix":
            raise ValueError("no range of values")
        lines = [_line(query, result, span) for result in data["result"][:SERIES_MAX]]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("an answer of another form") from error
    return sorted(lines, key=lambda line: line.name)


def alerts(data: Any) -> list[Alert]:
    """Those that fire, the worst first. Raises ValueError for what is no list of alerts."""
    try:
        firing = [_alert(item) for item in data["alerts"] if item["state"] == "firing"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("an answer of another form") from error
    order = {"page": 0, "ticket": 1}
    shown = [alert for alert in firing if alert.name != WATCHDOG]
    return sorted(shown, key=lambda alert: (order.get(alert.severity, 2), alert.name))


def shown(panel: Panel, lines: Sequence[Series], fault: str | None) -> dict[str, Any]:
    """A panel for the page. `fault`: why it could not be asked."""
    return {
        "title": panel.title,
        "unit": panel.unit,
        "kind": panel.kind,
        "about": panel.about,
        "silent": panel.silent,
        "levels": asdict(panel.levels) if panel.levels else None,
        "wide": panel.wide >= 12,
        "series": [asdict(line) for line in lines],
        "fault": fault,
    }


def _line(query: Query, result: Mapping[str, Any], span: Window) -> Series:
    values = {round(float(at)): _value(text) for at, text in result["values"]}
    count = round((span.end - span.start) / span.step) + 1
    times = (span.start + i * span.step for i in range(count))
    points = tuple((at, values.get(round(at))) for at in times)
    recent = (value for at, value in reversed(points) if at >= span.end - 300)
    last = next((value for value in recent if value is not None), None)
    return Series(_name(query.legend, result["metric"]), points, last)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    if not legend:
        return ", ".join(f"{k}={v}" for k, v in sorted(labels.items())) or "value"
    return " ".join(_LABEL.sub(lambda m: str(labels.get(m[1], "")), legend).split()) or "value"


def _value(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _alert(item: Mapping[str, Any]) -> Alert:
    labels, notes = dict(item["labels"]), dict(item.get("annotations", {}))
    name, severity = labels.pop("alertname", "?"), labels.pop("severity", "")
    return Alert(
        name=name,
        severity=severity,
        summary=str(notes.get("summary", "")),
        place=_place(labels.items()),
        since=str(item.get("activeAt", "")),
        runbook=str(notes.get("runbook_url", "")),
    )


def _place(labels: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(labels))
