"""What brokers ask of the control plane and what it answers (CONTRACT, "Internal API")."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

# What one call of a broker may ask or tell at most.
BATCH_MAX: Final = 64
# Tools of the policy that one job may have.
TOOLS_MAX: Final = 32

EngineKind = Literal["vllm", "ollama", "tf_serving"]
JobKind = Literal["job", "chat_completion", "chat", "ws", "embedding"]
# Why an attempt at an engine failed; the `job_error` codes that are the engine's doing.
EngineFault = Literal["engine_unreachable", "engine_error", "engine_stalled", "engine_truncated"]
Outcome = Literal["completed", "failed", "cancelled"]

# Bytes of text, and of a settlement's body: JSON may write a byte as six.
SETTLED_TEXT_MAX: Final = 128 << 10
SETTLEMENT_MAX: Final = 2 << 20


class EngineTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One engine and the name under which it knows the model.

    `continues`: it was seen to go on behind a text that it is given (CONTRACT, promise 4).
    False until a probe has proven it: a job that cannot be continued ends with a clear
    error, a text continued by an engine that cannot is garbled. `trims`: its chat template
    drops white space at the end of such a text. `name` is the engine's in the inventory.
    """

    kind: EngineKind
    base_url: str
    model: str
    continues: bool = False
    trims: bool = False
    name: str = ""


class GrantQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a request that the control plane decides on; never the messages.

    `tools`: the client brings tools of its own; `server_tools` names those of the policy that
    it asks for. `vision`: the messages carry images. `affinity` is the same for the requests
    of one conversation, and says nothing about its content.
    """

    model: str
    kind: JobKind
    prompt_tokens_estimate: int
    max_tokens: int | None = None
    session_id: str | None = None
    tools: bool = False
    server_tools: Annotated[list[str], Meta(max_length=TOOLS_MAX)] = []
    vision: bool = False
    affinity: str | None = None


class GrantRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/grants`. `credential` is the raw bearer value or cookie token.

    `ended`: leases of the caller's jobs whose end is known at this broker and not yet settled.
    They hold no slot any more.
    """

    credential: str
    request: GrantQuestion
    node: str
    traceparent: str | None = None
    ended: Annotated[list[str], Meta(max_length=BATCH_MAX)] = []

    def __repr__(self) -> str:
        return f"GrantRequest(credential=…, request={self.request!r}, node={self.node!r})"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`max_tokens` for the engine; times in seconds, a grace of None is unlimited.

    `quota_limited`: the user's quota made `max_tokens` smaller, so a job that reaches it
    ends as `job_cancelled` with the reason `quota`.
    """

    max_tokens: int
    deadline_s: float
    detach_grace_s: float | None
    quota_limited: bool = False


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A slot among a user's concurrent streams; frees itself when not renewed for `ttl_s`."""

    id: str
    ttl_s: float


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens set aside until the settlement says what was used."""

    tokens: int


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The job waits for its turn: `position` 1 is next. The broker asks again after
    `ask_again_s` seconds, at the latest."""

    position: int
    ask_again_s: float


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the client is to be told of the decision: a `notice` before the first token."""

    code: str
    message: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to run one job, and how. `degraded_until` is Unix seconds, set by a broker that
    decided alone while the control plane was away.

    `model` is the public name of the model that answers, where it is not the one that was
    asked for. `tools` are the schemas (OpenAI's `{"type": "function", …}`) of the policy's tools
    that the model may call, in at most `tool_rounds` rounds. With a `turn` no engine may be
    asked yet: `POST /internal/v1/grants/{grant_id}/turn` says when, and which.
    """

    grant_id: str
    user_id: str
    tier: str
    engine: EngineTarget
    fallbacks: list[EngineTarget]
    limits: Limits
    tools: list[dict[str, Any]]
    inspection: dict[str, Any]
    pacing: dict[str, Any]
    lease: Lease
    reservation: Reservation
    degraded_until: float | None = None
    model: str | None = None
    notices: list[Told] = []
    tool_rounds: int = 0
    turn: Turn | None = None

    @property
    def targets(self) -> list[EngineTarget]:
        """All engines that may serve the job, the preferred one first."""
        return [self.engine, *self.fallbacks]


class GrantRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/grants/batch`: questions that came at the same time."""

    questions: Annotated[list[GrantRequest], Meta(max_length=BATCH_MAX)]


class GrantAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one of them: a grant, or a problem and the header fields it would have
    had as an answer of its own."""

    grant: Grant | None = None
    problem: dict[str, Any] | None = None
    headers: dict[str, str] = {}


class GrantAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, in the order of the questions."""

    answers: list[GrantAnswer]


class TurnAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of `POST /internal/v1/grants/{grant_id}/turn`: `turn` while the job waits on, else
    the `engine` and its `fallbacks`. The same answer again for whoever asks again."""

    turn: Turn | None = None
    engine: EngineTarget | None = None
    fallbacks: list[EngineTarget] = []


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at an engine that failed, as the broker on `node` saw it."""

    node: str
    base_url: str
    model: str
    fault: EngineFault


class EngineReports(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/engines/reports`; answered 204."""

    reports: Annotated[list[EngineReport], Meta(max_length=BATCH_MAX)]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts as the engine gave them; `estimated` when it gave none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a request, as far as a conversation keeps it."""

    role: Literal["user"]
    text: str


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/settlements`; idempotent by `job_id`. Times are Unix seconds.

    With a `session_id` the conversation is kept: `asked` is what the user said since the last
    answer, `final_text` what was answered, each of SETTLED_TEXT_MAX bytes at most.
    """

    job_id: str
    grant_id: str
    lease_id: str
    user_id: str
    model: str
    engine: str
    node: str
    outcome: Outcome
    code: str | None
    usage: Usage
    created_at: float
    first_token_at: float | None
    ended_at: float
    session_id: str | None = None
    final_text: str | None = None
    asked: list[Said] = []


class Settlements(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/settlements/batch`."""

    settlements: Annotated[list[Settlement], Meta(max_length=BATCH_MAX)]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Its answer: job id -> reason of those that are refused for good."""

    refused: dict[str, str]
