"""What became of tool calls: counted, timed, and noted in the audit log.

Calls do not wait for the database: lines are gathered and written every now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from contracts.problems import ProblemError
from control_plane.metrics import Metrics
from control_plane.store.audit import Entry, note
from control_plane.store.database import Database
from control_plane.tools.base import Outcome

FLUSH_EVERY_S: Final = 1.0
LINES_MAX: Final = 10_000


class Trail:
    """See `toolbox.Observer`. Lines beyond LINES_MAX are lost, and counted as such."""

    def __init__(self, metrics: Metrics, database: Database, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._database = database
        self._clock = clock
        self._lines: list[Entry] = []

    def called(
        self, tool: str, function: str, actor: str, outcome: Outcome, seconds: float
    ) -> None:
        """Notes one call: never its arguments, never its answer."""
        self._metrics.tool_calls.labels(tool, outcome).inc()
        self._metrics.tool_seconds.labels(tool).observe(seconds)
        self._add(
            Entry(
                at=self._clock(),
                actor=actor,
                action="tool",
                subject=function,
                outcome=outcome,
                detail={"ms": round(seconds * 1000)},
            )
        )

    async def flush(self) -> None:
        """Writes the lines. Raises ProblemError 503, and keeps them for the next time."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            await self._database.run(lambda connection: note(connection, *lines))
        except ProblemError:
            for line in lines:
                self._add(line)
            raise

    def _add(self, line: Entry) -> None:
        if len(self._lines) < LINES_MAX:
            self._lines.append(line)
        else:
            self._metrics.tool_lines_lost.inc()
