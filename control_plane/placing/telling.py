"""The state of engines and queues, written into the metrics when they are read."""

from __future__ import annotations

from typing import Final

from control_plane.metrics import Metrics
from control_plane.placing.dispatch import Dispatcher

_BREAKERS: Final = {"closed": 0, "half_open": 1, "open": 2}


def tell(dispatcher: Dispatcher, metrics: Metrics, now: float) -> None:
    """All of it; what was counted since the last time is added."""
    fleet = dispatcher.fleet
    gauges = (
        metrics.engine_jobs,
        metrics.engine_running,
        metrics.engine_waiting,
        metrics.engine_drained,
        metrics.engine_breaker,
        metrics.queue_length,
    )
    for gauge in gauges:  # engines and models may have gone
        gauge.clear()
    for server in fleet.servers.values():
        metrics.engine_jobs.labels(server.name).set(dispatcher.occupancy.held(server.url))
        metrics.engine_running.labels(server.name).set(server.load.running or 0)
        metrics.engine_waiting.labels(server.name).set(server.load.waiting or 0)
        metrics.engine_drained.labels(server.name).set(server.name in fleet.drained)
    for (url, model), state in fleet.breakers(now).items():
        if url in fleet.servers:
            name = fleet.servers[url].name
            metrics.engine_breaker.labels(name, model).set(_BREAKERS[state])
    for model in dispatcher.rules.models:
        metrics.queue_length.labels(model).set(dispatcher.waiting.length(model))
    _add(dispatcher, metrics)


def _add(dispatcher: Dispatcher, metrics: Metrics) -> None:
    counts, fleet = dispatcher.counts, dispatcher.fleet
    for (name, reason), count in counts.placements.items():
        metrics.placements.labels(name, reason).inc(count)
    for (model, step), count in counts.steps.items():
        metrics.overload.labels(model, step).inc(count)
    for (url, fault), count in fleet.faults.items():
        server = fleet.servers.get(url)
        metrics.engine_faults.labels(server.name if server else "gone", fault).inc(count)
    counts.placements.clear()
    counts.steps.clear()
    fleet.faults.clear()
