"""What brokers tell of jobs and engines, taken to where it counts. Pure."""

from __future__ import annotations

from typing import Final, get_args

from contracts.grants import EngineFault, Settlement
from control_plane.placing.dispatch import Dispatcher

_FAULTS: Final = {fault: fault for fault in get_args(EngineFault)}


def settled(dispatcher: Dispatcher, settlement: Settlement, now: float) -> None:
    """A job has ended: its place is free, and its engine is the better or the worse for it."""
    held = dispatcher.ended(settlement.grant_id, now)
    if held is None:
        return
    fleet, target = dispatcher.fleet, held.targets[0]
    key, node = (held.url, target.model), settlement.node
    fault: EngineFault | None = _FAULTS.get(settlement.code or "")
    if fault is not None:
        if held.trial:
            fleet.end_trial(key, False, now)
        else:
            fleet.job_failed(node, key, fault, now)
        return
    # One that another engine took over says nothing for the first.
    moved = target.kind != settlement.engine or fleet.was_reported(node, key, held.since)
    if settlement.outcome == "completed" and not moved:
        fleet.job_succeeded(key, now, trial=held.trial)
