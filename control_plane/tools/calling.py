"""Calls of tools as brokers ask for them: checked against the job's grant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from contracts.problems import ProblemError
from contracts.tools import Invocation, ToolAnswer
from control_plane.holdings import OpenGrant
from control_plane.tools.toolbox import Toolbox

# Grants whose tools are remembered: far more than ever have some at once.
GRANTS_MAX: Final = 20_000
_NOBODY: Final = "nobody"


class Calling:
    """`grant_of` finds an open grant by its id; `tools_of` tells the policy's tools of a model.
    `since` (Unix seconds): of grants from before, made by a control plane that has ended, the
    tools of their models are all that is known."""

    def __init__(
        self,
        box: Toolbox,
        grant_of: Callable[[str], OpenGrant | None],
        tools_of: Callable[[str], Sequence[str]],
        since: float,
    ) -> None:
        self._box = box
        self._grant_of = grant_of
        self._tools_of = tools_of
        self._since = since
        self._granted: OrderedDict[str, frozenset[str]] = OrderedDict()

    def note(self, grant_id: str, tools: Sequence[dict[str, Any]]) -> None:
        """Remembers which functions a job was granted."""
        if not tools:
            return
        self._granted[grant_id] = frozenset(tool["function"]["name"] for tool in tools)
        if len(self._granted) > GRANTS_MAX:
            self._granted.popitem(last=False)

    async def invoke(self, function: str, asked: Invocation) -> ToolAnswer:
        """Calls a function. Raises ProblemError `not_found` for one that there is none of or
        that the grant does not allow, and for a grant that is over."""
        actor = _NOBODY
        if asked.grant_id is not None:
            actor = self._allowed(function, asked.grant_id)
        try:
            return (await self._box.invoke(function, asked, actor)).answer
        except KeyError:
            raise _unknown() from None

    def _allowed(self, function: str, grant_id: str) -> str:
        """The user of a grant that allows it."""
        grant = self._grant_of(grant_id)
        if grant is None:
            raise ProblemError("not_found", "No such grant is open.")
        named = self._granted.get(grant_id, frozenset())
        if grant.created_at < self._since:
            named = frozenset(self._box.names(self._tools_of(grant.model)))
        if function not in named:
            raise _unknown()
        return grant.user_id


def _unknown() -> ProblemError:
    return ProblemError("not_found", "This job has no tool of this name.")
