"""What an alert is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from observability import slo

Severity = Literal["page", "ticket", "info"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `hop` says where to look; `wait` is for how long it must be so."""

    name: str
    hop: str
    severity: Severity
    expr: str
    wait: str
    summary: str
    description: str

    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.wait} if self.wait else {}),
            "labels": {"severity": self.severity, "hop": self.hop},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{{{{ $externalLabels.{slo.RUNBOOK_LABEL} }}}}#{self.name.lower()}",
            },
        }
