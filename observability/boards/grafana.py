"""Dashboards and their provisioning as Grafana 10 or later reads them: pure text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, Final

import yaml

from observability.boards.model import Board, Kind, Levels, Panel, Row, Unit, Variable

PROMETHEUS: Final = {"type": "prometheus", "uid": "okome-prometheus"}
LOKI: Final = {"type": "loki", "uid": "okome-loki"}
_COLUMNS = 24
_HEIGHTS: dict[Kind, int] = {"graph": 8, "stat": 5, "logs": 10, "table": 8}
_TYPES: dict[Kind, str] = {"graph": "timeseries", "stat": "stat", "logs": "logs", "table": "table"}
_UNITS: dict[Unit, str] = {"bool": "bool_yes_no"}
_LINKS = {
    "type": "dashboards",
    "tags": ["okome"],
    "title": "OKOME",
    "asDropdown": True,
    "keepTime": True,
    "includeVars": False,
}


def dashboard(board: Board) -> str:
    """The JSON of one dashboard, the same for the same board."""
    content = {
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "tags": ["okome"],
        "schemaVersion": 38,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        # One crosshair over all panels: what happened elsewhere at that moment?
        "graphTooltip": 1,
        "links": [_LINKS],
        "annotations": {"list": []},
        "templating": {"list": [_variable(variable) for variable in board.variables]},
        "panels": list(_panels(board.rows)),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def datasources(prometheus_url: str, loki_url: str | None, interval_s: int) -> str:
    """Grafana's provisioning of data sources. An exemplar leads to its job's board."""
    # Grafana fills in $NAME from its environment here; a doubled one is a plain one.
    stream = "/d/okome-stream?var-job_id=$${__value.raw}"
    sources: list[dict[str, Any]] = [
        {
            "name": "OKOME Prometheus",
            **PROMETHEUS,
            "access": "proxy",
            "url": prometheus_url,
            "isDefault": True,
            "jsonData": {
                "timeInterval": f"{interval_s}s",
                "httpMethod": "POST",
                "exemplarTraceIdDestinations": [
                    {"name": "job_id", "url": stream, "urlDisplayLabel": "this job"}
                ],
            },
        }
    ]
    if loki_url is not None:
        sources.append({"name": "OKOME Loki", **LOKI, "access": "proxy", "url": loki_url})
    return yaml.safe_dump({"apiVersion": 1, "datasources": sources}, sort_keys=False)


def providers(directory: str) -> str:
    """Grafana's provisioning of the dashboards that lie in `directory`."""
    provider = {
        "name": "okome",
        "folder": "OKOME",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": directory},
    }
    return yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False)


def _panels(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows from top to bottom, panels from left to right."""
    numbers, top = count(1), 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {
            "id": next(numbers),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.wide > _COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            height = _HEIGHTS[panel.kind]
            place = {"x": left, "y": top, "w": panel.wide, "h": height}
            yield _panel(panel, next(numbers), place)
            left, tallest = left + panel.wide, max(tallest, height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = LOKI if panel.source == "loki" else PROMETHEUS
    about = [
        panel.about,
        "Points lead to jobs." if panel.exemplars else "",
        f"May be empty: {panel.silent}." if panel.silent else "",
    ]
    return {
        "id": number,
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": " ".join(part for part in about if part),
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel.kind),
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": source,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
                "exemplar": panel.exemplars,
            }
            for i, query in enumerate(panel.queries)
        ],
    }


def _field(panel: Panel) -> dict[str, Any]:
    field: dict[str, Any] = {
        "unit": _UNITS.get(panel.unit, panel.unit),
        "thresholds": {"mode": "absolute", "steps": _steps(panel.levels)},
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "noValue": "–",
    }
    if panel.unit in ("s", "short", "ops", "bytes", "Bps", "percentunit"):
        field["min"] = 0
    if panel.kind == "graph":
        style = "line" if panel.levels else "off"
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 5,
            "showPoints": "never",
            "spanNulls": False,
            "thresholdsStyle": {"mode": style},
        }
    return field


def _steps(levels: Levels | None) -> list[dict[str, Any]]:
    if levels is None:
        return [{"color": "green", "value": None}]
    if levels.bad >= levels.warn:
        colours = ("green", "orange", "red")
        bounds = (None, levels.warn, levels.bad)
    else:
        colours = ("red", "orange", "green")
        bounds = (None, levels.bad, levels.warn)
    return [{"color": c, "value": b} for c, b in zip(colours, bounds, strict=True)]


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area"}
    if kind == "logs":
        return {"showTime": True, "wrapLogMessage": True, "sortOrder": "Ascending"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _variable(variable: Variable) -> dict[str, Any]:
    if not variable.query:
        empty = {"text": "", "value": ""}
        return {
            "name": variable.name,
            "label": variable.label,
            "type": "textbox",
            "query": "",
            "current": empty,
            "options": [empty | {"selected": True}],
        }
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": variable.query,
        "query": {"query": variable.query, "refId": variable.name},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }
