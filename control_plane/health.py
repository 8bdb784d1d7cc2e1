"""When an engine counts as healthy: a state machine without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from contracts.grants import EngineTarget

FAILURES_UNTIL_UNHEALTHY: Final = 2


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one engine. Unknown (never checked) counts as healthy, so that a
    control plane that has just started refuses nothing; times are Unix seconds."""

    healthy: bool = True
    failures: int = 0
    checked_at: float | None = None
    since: float | None = None


def observe(state: Health, answered: bool, now: float) -> Health:
    """The state after one check: unhealthy after two failures in a row, healthy after one
    success. `since` is when `healthy` last changed."""
    failures = 0 if answered else state.failures + 1
    healthy = failures < FAILURES_UNTIL_UNHEALTHY
    changed = healthy != state.healthy or state.since is None
    after = replace(state, healthy=healthy, failures=failures, checked_at=now)
    return replace(after, since=now) if changed else after


def probe_url(engine: EngineTarget) -> str:
    """Where to ask an engine how it is (CONTRACT, "Engines"). Equal for models that share
    an engine, except on TensorFlow Serving, which answers per model."""
    base = engine.base_url.rstrip("/")
    match engine.kind:
        case "vllm":
            return f"{base}/health"
        case "ollama":
            return f"{base}/api/version"
        case "tf_serving":
            return f"{base}/v1/models/{quote(engine.model, safe='')}"
