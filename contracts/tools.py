"""Calls of the policy's tools, as brokers ask for them (CONTRACT, "Internal API")."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

# Bytes of a call's arguments, and of what a model is told of its outcome.
ARGUMENTS_MAX: Final = 64 << 10
CONTENT_MAX: Final = 1 << 20

CallId = Annotated[str, Meta(min_length=1, max_length=256)]


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/tools/{name}/invoke`; idempotent by `job_id` and `id`.

    `arguments` is the object, or the JSON text that the model wrote. With a `grant_id` the
    call is checked against what that grant allows, and booked on its user.
    """

    job_id: CallId
    id: CallId
    arguments: Any
    grant_id: str | None = None


class ToolAnswer(msgspec.Struct, frozen=True):
    """The outcome of a call. `content` is for the model and for people: data, whatever it
    says. Without `ok` it tells, in a sentence, why there is no result."""

    ok: bool
    content: str


class OfferedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is told of one tool (OpenAI's `function`)."""

    name: str
    description: str
    parameters: dict[str, Any]


class OfferedTool(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `Grant.tools` and `PolicySnapshot.tools`."""

    function: OfferedFunction
    type: Literal["function"] = "function"
