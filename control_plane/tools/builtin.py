"""The two tools that need nothing from outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from contracts.tools import OfferedFunction
from control_plane.json_schemas import Arguments
from control_plane.tools.base import Call, ToolError
from control_plane.tools.calculator import CalculationError, calculate

_TIME_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "zone": {
            "type": "string",
            "maxLength": 64,
            "description": "IANA name of a time zone, such as Europe/Berlin; UTC by default.",
        }
    },
    "additionalProperties": False,
}
_SUM_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "expression": {"type": "string", "description": "Such as (3 + 4) * sqrt(2) / 7^2."}
    },
    "required": ["expression"],
    "additionalProperties": False,
}
_TIMEOUT_S: Final = 5.0


class BuiltIn:
    """A tool that is a function of its arguments. `work` raises ToolError."""

    timeout_s = _TIMEOUT_S

    def __init__(
        self,
        name: str,
        description: str,
        parameters: dict[str, Any],
        work: Callable[[dict[str, Any]], str],
    ) -> None:
        self.functions = [
            OfferedFunction(name=name, description=description, parameters=parameters)
        ]
        self._arguments = Arguments(parameters)
        self._work = work

    async def invoke(self, _: str, call: Call) -> str:
        """See RunningTool."""
        fault = self._arguments.fault(call.arguments)
        if fault is not None:
            raise ToolError("invalid", fault)
        return self._work(dict(call.arguments))

    def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        """Nothing to end."""


def time_tool(name: str, clock: Callable[[], float]) -> BuiltIn:
    """Tells the time of `clock` (Unix seconds)."""
    description = "Tells the current date and time in a time zone."
    return BuiltIn(
        name,
        description,
        _TIME_PARAMETERS,
        lambda arguments: told_time(clock(), arguments.get("zone", "UTC")),
    )


def calculator_tool(name: str) -> BuiltIn:
    """Works out arithmetic."""
    description = "Works out an arithmetic expression exactly."
    return BuiltIn(
        name, description, _SUM_PARAMETERS, lambda arguments: _result(arguments["expression"])
    )


def told_time(now: float, zone: str) -> str:
    """Unix seconds as a person reads them in that zone. Raises ToolError."""
    place: tzinfo
    try:
        place = UTC if zone.upper() == "UTC" else ZoneInfo(zone)
    except (OSError, ValueError, KeyError) as error:
        # ZoneInfo looks among its own files only: a name that leads out is a ValueError.
        raise ToolError("invalid", "No time zone of this name is known.") from error
    moment = datetime.fromtimestamp(now, place)
    return f"{moment.strftime('%A')}, {moment.isoformat(timespec='seconds')} ({zone})"


def _result(expression: str) -> str:
    try:
        return calculate(expression)
    except CalculationError as error:
        raise ToolError("invalid", str(error)) from error
