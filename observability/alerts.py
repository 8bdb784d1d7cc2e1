"""All alerts: what people feel is told by burn rates, what causes it by its hop."""

from __future__ import annotations

from typing import Any

from observability import slo
from observability.alert import Alert, Severity
from observability.causes import BROKERS, CONTROL, ENGINES, LOG, NODES, WATCHING


def groups() -> list[dict[str, Any]]:
    """The groups of alerts."""
    causes = (*ENGINES, *BROKERS, *LOG, *CONTROL, *NODES, *WATCHING)
    return [
        {"name": "okome-objectives", "rules": _burning()},
        {"name": "okome-causes", "rules": [alert.rule() for alert in causes]},
    ]


def _burning() -> list[dict[str, Any]]:
    return [
        _burns(objective, severity).rule()
        for objective in slo.OBJECTIVES
        for severity in ("page", "ticket")
    ]


def _burns(objective: slo.Objective, severity: Severity) -> Alert:
    name = objective.name
    pairs = [
        f'(okome:slo_errors:ratio_{window.long}{{slo="{name}"}} > {_limit(objective, window)}'
        f' and okome:slo_errors:ratio_{window.short}{{slo="{name}"}}'
        f" > {_limit(objective, window)})"
        for window in slo.BURNS
        if window.severity == severity
    ]
    enough = f'okome:slo_events:last_1h{{slo="{name}"}} > {objective.least}'
    if severity == "ticket":
        enough = f'max_over_time(okome:slo_events:last_1h{{slo="{name}"}}[1d]) > {objective.least}'
    return Alert(
        objective.alert,
        "slo",
        severity,
        f"({' or '.join(pairs)}) and {enough}",
        "1m",
        objective.summary,
        f"{{{{ $value | humanizePercentage }}}} were bad, of which {objective.budget:.3g} may be."
        " The panel Which hop is it? says where.",
    )


def _limit(objective: slo.Objective, window: slo.Burn) -> str:
    return f"{window.factor * objective.budget:.6g}"
