"""What every tool is: something that is offered to models and can be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import msgspec

from contracts.tools import OfferedFunction, ToolAnswer

# What became of a call, for metrics and the audit log.
OUTCOMES: Final = (
    "ok",
    "failed",
    "invalid",
    "refused",
    "timeout",
    "too_large",
    "unreachable",
    "busy",
)
Outcome = Literal[
    "ok", "failed", "invalid", "refused", "timeout", "too_large", "unreachable", "busy"
]


class Result(msgspec.Struct, frozen=True):
    """An outcome and what is told of it."""

    outcome: Outcome
    content: str

    @property
    def answer(self) -> ToolAnswer:
        """The same as brokers are told it."""
        return ToolAnswer(ok=self.outcome == "ok", content=self.content)


class ToolError(Exception):
    """A call has no result. `str(error)` is one sentence for the model, without a secret."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome


class ToolsError(Exception):
    """The tools of a policy cannot be used as they are written; says which and why. `member`:
    what of the tool is to be mended, where it is one thing."""

    def __init__(self, message: str, *, member: str = "") -> None:
        super().__init__(message)
        self.member = member


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `key` is the same for a repeated call; `arguments` were a JSON object."""

    key: str
    arguments: Mapping[str, Any]


class RunningTool(Protocol):
    """One tool of the policy, ready to be called: one function, or a server's several."""

    @property
    def functions(self) -> list[OfferedFunction]:
        """What is offered now, under the names by which it is called."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long a call may take."""
        ...

    async def invoke(self, function: str, call: Call) -> str:
        """Calls one of the functions. The caller sets the time limit. Raises ToolError."""
        ...

    def start(self) -> None:
        """Begins what has to run beside the calls."""
        ...

    async def aclose(self) -> None:
        """Ends all of it."""
        ...
