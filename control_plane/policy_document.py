"""What a policy file may say: one type for each of its parts.

The file names engines by their names in the inventory, which alone knows addresses. How it
is read, and what is checked across its parts, is in `policy_reading.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from contracts.grants import TOOLS_MAX

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\s/\x00-\x1f]([^\s\x00-\x1f]*)\Z",
        description="a name of 1 to 128 characters without spaces that does not begin with /",
    ),
]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Capability = Literal["tools", "reasoning", "vision", "embeddings"]
# What a model of a function name may be (OpenAI API): also the names of our tools.
ToolName = Annotated[
    str,
    Meta(
        pattern=r"^[a-zA-Z0-9_-]{1,64}\Z",
        description="a name of 1 to 64 letters, digits, _ and -",
    ),
]


# As the store names tiers.
TierName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}\Z",
        description="a name of 1 to 64 of a-z 0-9 . _ @ + and -",
    ),
]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file. A member that it does not know is an error, not a wish."""


class EngineRules(Part, frozen=True, kw_only=True):
    """How much one engine is given. `slots`: jobs at once; None: as many as its own metrics
    say it can run. `gpu`: which of the arbitration's GPUs it works on."""

    slots: Count | None = None
    gpu: Name | None = None


class ModelEngine(Part, frozen=True, kw_only=True):
    """An engine that has a model, and the name under which it knows it."""

    engine: Name
    model: str | None = None


class ModelRules(Part, frozen=True, kw_only=True):
    """One public model. `context` in tokens, None: the smallest that its engines tell;
    `capabilities` None: what its engines say of themselves. `smaller`: the model that answers
    instead when this one is overloaded. `tools`: the policy's tools that jobs may ask for."""

    engines: Annotated[list[ModelEngine], Meta(min_length=1, max_length=64)]
    context: Count | None = None
    max_tokens: Count | None = None
    tiers: list[Name] | None = None
    capabilities: list[Capability] | None = None
    tools: Annotated[list[ToolName], Meta(max_length=TOOLS_MAX)] = []
    smaller: Name | None = None
    pacing: Literal["off", "smooth"] | None = None


class TierRules(Part, frozen=True, kw_only=True):
    """One tier of users. `priority`: higher waits less; `queue`: whether its jobs may wait
    at all for an engine that is full. None: as the settings say."""

    priority: Annotated[int, Meta(ge=0, le=100)] = 50
    max_tokens: Count | None = None
    streams: Count | None = None
    queue: bool = True


class OverloadRules(Part, frozen=True, kw_only=True):
    """What happens, in this order, when a model's engines are full.

    `shorten_to`: tokens of an answer once `shorten_at` (of 1) of the slots are taken;
    `queue`: jobs that may wait per model, `wait_s` each at most; `retry_after_s` is told to
    those who are refused.
    """

    shorten_at: Annotated[float, Meta(gt=0, le=1)] = 1.0
    shorten_to: Count | None = None
    queue: Annotated[int, Meta(ge=0, le=10_000)] = 64
    wait_s: Seconds = 60.0
    retry_after_s: Count = 5


class GpuRules(Part, frozen=True, kw_only=True):
    """One GPU that engines share (mode A) or have for themselves (mode B).

    `jobs`: how many jobs run on it at once, over all engines of it; None: no such bound.
    `when_busy`: what a one-shot engine (TensorFlow Serving) does while the others are busy.
    """

    mode: Literal["shared", "partitioned"] = "shared"
    jobs: Count | None = None
    when_busy: Literal["queue", "refuse"] = "queue"


class TimeTool(Part, frozen=True, kw_only=True, tag_field="kind", tag="time"):
    """Built in: what time it is, in a time zone."""


class CalculatorTool(Part, frozen=True, kw_only=True, tag_field="kind", tag="calculator"):
    """Built in: the value of an arithmetic expression."""


class HttpTool(Part, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """A tool behind a URL. `parameters` is a JSON schema of an object; its members are sent as
    JSON, or as the query of a GET. `openapi`: a file whose `operation` describes all this.
    Addresses inside the network are refused unless their host is in `allow`."""

    description: Annotated[str, Meta(max_length=1024)] = ""
    url: str | None = None
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    parameters: dict[str, Any] | None = None
    openapi: str | None = None
    operation: str | None = None
    headers: dict[str, str] = {}
    allow: list[str] = []
    timeout_s: Seconds = 10.0
    answer_max: Annotated[int, Meta(ge=256, le=1 << 20)] = 64 << 10


class McpTool(Part, frozen=True, kw_only=True, tag_field="kind", tag="mcp"):
    """The tools of an MCP server, started by `command` or reached at `url`; `only` names those
    that are offered, None: all. They are called `NAME_TOOL`."""

    command: list[str] | None = None
    url: str | None = None
    only: list[str] | None = None
    allow: list[str] = []
    timeout_s: Seconds = 10.0
    answer_max: Annotated[int, Meta(ge=256, le=1 << 20)] = 64 << 10


Tool = TimeTool | CalculatorTool | HttpTool | McpTool


class PolicyDocument(Part, frozen=True, kw_only=True):
    """A whole file. `aliases`: other public names of models, also of aliases. `default_tier`: as
    which of the `tiers` users count whose own is not named here."""

    version: Literal[1]
    models: dict[Name, ModelRules]
    engines: dict[Name, EngineRules] = {}
    aliases: dict[Name, Name] = {}
    tiers: dict[TierName, TierRules] = {}
    default_tier: Name | None = None
    overload: OverloadRules = OverloadRules()
    gpus: dict[Name, GpuRules] = {}
    tools: dict[ToolName, Tool] = {}
    tool_rounds: Annotated[int, Meta(ge=1, le=32)] = 8
    inspection: dict[str, Any] = {}
