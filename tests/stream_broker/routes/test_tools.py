from __future__ import annotations

from typing import Any

import msgspec

from contracts.policy import PolicyModel
from stream_broker.routes.tools import tools_for
from tests.stream_broker.building import policy
from tests.stream_broker.tooling import schema


def with_tools(**by_model: list[str]) -> Any:
    snapshot = policy()
    models: list[PolicyModel] = [
        msgspec.structs.replace(model, server_tools=by_model.get(model.id, []))
        for model in snapshot.models
    ]
    tools = [schema("time"), schema("sum")]
    aliases = {"default": "small"}
    return msgspec.structs.replace(snapshot, models=models, tools=tools, aliases=aliases)


def test_each_tool_is_listed_with_the_models_that_the_caller_may_use() -> None:
    snapshot = with_tools(small=["time"], big=["time", "sum"])
    free = tools_for(snapshot, "free")
    assert [(tool["name"], tool["models"]) for tool in free] == [("time", ["small", "default"])]
    paid = tools_for(snapshot, "paid")
    assert [(tool["name"], tool["models"]) for tool in paid] == [
        ("time", ["small", "big", "default"]),
        ("sum", ["big"]),
    ]
    assert paid[0]["parameters"] == {"type": "object"}


def test_where_the_policy_has_none_there_are_none() -> None:
    assert tools_for(policy(), "free") == []
