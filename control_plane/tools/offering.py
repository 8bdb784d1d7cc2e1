"""Which tools jobs may ask for, model by model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from contracts.grants import TOOLS_MAX, GrantQuestion, Told
from contracts.policy import PolicyModel
from contracts.problems import ProblemError
from control_plane.policy_document import ModelRules


class Offered(Protocol):
    """See `Toolbox`."""

    def names(self, tools: Iterable[str]) -> list[str]:
        """What these tools are called by."""
        ...

    def asked_for(self, asked: Sequence[str], permitted: Sequence[str]) -> list[dict[str, Any]]:
        """The schemas of what is asked for. Raises KeyError."""
        ...


def granted(
    question: GrantQuestion, model: str, rules: ModelRules, box: Offered
) -> list[dict[str, Any]]:
    """The schemas that a job may use. Raises ProblemError `invalid_request` for tools that
    there are none of, that the model may not use, and for a model that cannot call any."""
    if not question.server_tools:
        return []
    if rules.capabilities is not None and "tools" not in rules.capabilities:
        raise _refused(f"The model {model} cannot call tools.")
    try:
        found = box.asked_for(question.server_tools, rules.tools)
    except KeyError as error:
        name = str(error.args[0])[:64]
        raise _refused(f"No tool called {name!r} is offered with {model}.") from error
    if len(found) > TOOLS_MAX:
        raise _refused(f"At most {TOOLS_MAX} tools go with one job.")
    return found


def narrowed(
    tools: list[dict[str, Any]], model: str, rules: ModelRules, box: Offered
) -> tuple[list[dict[str, Any]], list[Told]]:
    """What is left of a job's tools when another model answers, which may use not all of them,
    and what the client is to be told of it."""
    permitted = set(box.names(rules.tools))
    kept = [tool for tool in tools if tool["function"]["name"] in permitted]
    lost = [tool["function"]["name"] for tool in tools if tool not in kept]
    told = Told(code="limited", message=f"{model} answers without {', '.join(lost)}")
    return kept, [told] if lost else []


def with_tools(models: Iterable[PolicyModel], box: Offered) -> list[PolicyModel]:
    """The models, each with the names by which its tools are asked for in place of those of
    the policy: an MCP server has several."""
    return [
        msgspec.structs.replace(model, server_tools=box.names(model.server_tools))
        for model in models
    ]


def _refused(message: str) -> ProblemError:
    return ProblemError("invalid_request", message, field="tools")
