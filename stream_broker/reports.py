"""Tells the control plane which engines fail, so that it sends nobody else there.

News of a failure is worth something for seconds: what cannot be told now is dropped, and
counted. What a job has used, and how it ended, is told by its settlement, for certain.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, get_args

from contracts.grants import BATCH_MAX, EngineFault, EngineReport, EngineTarget
from contracts.problems import ProblemError
from stream_broker.control import ControlUnavailable

_LOG = logging.getLogger(__name__)
_FAULTS = frozenset(get_args(EngineFault))


class ReportSink(Protocol):
    """Who is told."""

    async def report(self, reports: Sequence[EngineReport]) -> None:
        """Takes at most BATCH_MAX. Raises ProblemError or ControlUnavailable."""


class FaultReports:
    """What this broker, on `node`, has yet to tell; `dropped` is called with a number for
    those that it never will."""

    def __init__(self, sink: ReportSink, node: str, dropped: Callable[[int], object]) -> None:
        self._sink = sink
        self._node = node
        self._dropped = dropped
        self._untold: deque[EngineReport] = deque()
        self._wake = asyncio.Event()

    def note(self, target: EngineTarget, code: str) -> None:
        """An attempt at `target` failed with `code`; of more than BATCH_MAX the oldest go."""
        if code not in _FAULTS:
            return
        if len(self._untold) == BATCH_MAX:
            self._untold.popleft()
            self._dropped(1)
        self._untold.append(
            EngineReport(
                node=self._node,
                base_url=target.base_url,
                model=target.model,
                fault=code,  # type: ignore[arg-type]  # one of _FAULTS
            )
        )
        self._wake.set()

    async def run(self) -> None:
        """Tells until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            reports = list(self._untold)
            self._untold.clear()
            try:
                await self._sink.report(reports)
            except (ProblemError, ControlUnavailable) as error:
                _LOG.debug("%d failures of engines not told: %s", len(reports), error)
                self._dropped(len(reports))
