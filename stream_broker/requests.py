"""What clients ask for, checked: bytes in, a `JobSpec` or a clear refusal out.

Pure. Three shapes (native job, OpenAI chat completion, `/chat`) become one spec; the
messages themselves are passed on to the engine as they came.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from contracts.grants import TOOLS_MAX, JobKind
from contracts.problems import ProblemError
from stream_broker.bodies import (
    ChatBody,
    CompletionBody,
    JobBody,
    Message,
    OwnTool,
    Part,
    SessionNamed,
)

T = TypeVar("T")

METADATA_MAX = 4096
# Levels of objects and lists. What is taken here is written and read again by others, each of
# which has a bound to how deep it goes, and none of them this low.
DEPTH_MAX = 64
KEY_MAX = 255
# Members of a chat completion that go to the engine as they came.
_PASSED_ON = (
    "tool_choice", "parallel_tool_calls", "response_format", "frequency_penalty",
    "presence_penalty", "logit_bias", "reasoning_effort",
)  # fmt: skip


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the one form that is acted on. `max_tokens` None: the default.

    `sampling` holds the engine call's optional members, tools of the client's own among
    them; `server_tools` names those of the policy; `body_hash` tells whether a
    repeated Idempotency-Key came with the same body.
    """

    kind: JobKind
    model: str
    messages: list[dict[str, Any]]
    sampling: dict[str, Any]
    body_hash: str
    max_tokens: int | None = None
    session_id: str | None = None
    conversation_id: str | None = None
    metadata: dict[str, Any] | None = None
    include_usage: bool = False
    stream: bool = True
    server_tools: list[str] = []

    @property
    def vision(self) -> bool:
        """Do the messages carry images?"""
        parts = (
            part
            for m in self.messages
            if isinstance(m.get("content"), list)
            for part in m["content"]
        )
        return any(part.get("type") == "image_url" for part in parts)

    @property
    def prompt_estimate(self) -> int:
        """A rough count of prompt tokens: four bytes each, and four per message."""
        return sum(len(str(m.get("content") or "")) // 4 + 4 for m in self.messages)


def decode_object(body: bytes | str, called: str = "body") -> dict[str, Any]:
    """The JSON object in `body`, which clients know as `called`. Raises ProblemError
    `invalid_json` or `invalid_request`."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProblemError("invalid_json", f"The {called} is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise ProblemError("invalid_request", f"The {called} must be a JSON object", field=called)
    if _deeper_than(DEPTH_MAX, decoded):
        raise ProblemError("invalid_request", f"At most {DEPTH_MAX} levels", field=called)
    return decoded


def _deeper_than(most: int, decoded: dict[str, Any]) -> bool:
    """Has it more levels of objects and lists than that?"""
    level: list[Any] = [decoded]
    for _ in range(most):
        parts = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def check(decoded: dict[str, Any], shape: type[T]) -> T:
    """`decoded` as `shape`. Raises ProblemError `invalid_request` with the field's path."""
    try:
        return msgspec.convert(decoded, shape)
    except msgspec.ValidationError as error:
        expected, _, path = str(error).partition(" - at ")
        # A member whose name is wrong is told of by the object that it is in.
        path = path.removeprefix("`key` in ").strip("`").removeprefix("$.")
        raise ProblemError("invalid_request", expected, field=path or _missing(expected)) from error


def _missing(message: str) -> str | None:
    found = re.search(r"missing required field `(\w+)`", message)
    return found[1] if found else None


def _check_contents(messages: Sequence[Message]) -> None:
    """Raises ProblemError for a message that says nothing, which an engine would refuse."""
    for place, message in enumerate(messages):
        field = f"messages[{place}].content"
        calls = message.role == "assistant" and message.tool_calls
        if message.content is None and not calls:
            raise ProblemError("invalid_request", "Expected text or parts", field=field)
        for number, part in enumerate(message.content or ()):
            if isinstance(part, Part) and part.type == "text" and part.text is None:
                raise ProblemError(
                    "invalid_request", "Expected a string", field=f"{field}[{number}].text"
                )


def job_spec(body: dict[str, Any], max_tokens: int, kind: JobKind = "job") -> JobSpec:
    """The spec of a native job. Raises ProblemError."""
    job = check(body, JobBody)
    if (job.messages is None) == (job.prompt is None):
        raise ProblemError("invalid_request", "Give either messages or prompt", field="messages")
    if job.metadata is not None and len(msgspec.json.encode(job.metadata)) > METADATA_MAX:
        raise ProblemError(
            "invalid_request", f"At most {METADATA_MAX} bytes of metadata", field="metadata"
        )
    _check_contents(job.messages or [])
    messages = body["messages"] if job.messages else [{"role": "user", "content": job.prompt}]
    return JobSpec(
        kind=kind,
        model=job.model,
        messages=messages,
        sampling=_sampling(job, tools=_own(body.get("tools"))),
        server_tools=_named(job.tools),
        body_hash=body_hash(body),
        max_tokens=_bounded(job.max_tokens, max_tokens, "max_tokens"),
        session_id=job.session_id,
        metadata=job.metadata,
    )


def completion_spec(body: dict[str, Any], max_tokens: int) -> JobSpec:
    """The spec of an OpenAI chat completion. Raises ProblemError."""
    ask = check(body, CompletionBody)
    _check_contents(ask.messages)
    if ask.n not in (None, 1):
        raise ProblemError("invalid_request", "Only n = 1 is offered", field="n")
    if ask.logprobs or ask.top_logprobs:
        raise ProblemError("invalid_request", "logprobs are not offered", field="logprobs")
    if ask.tool_choice not in (None, "none", "auto") and not ask.tools:
        raise ProblemError("invalid_request", "There are no tools", field="tool_choice")
    wanted, field = ask.max_completion_tokens, "max_completion_tokens"
    if wanted is None:
        wanted, field = ask.max_tokens, "max_tokens"
    return JobSpec(
        kind="chat_completion",
        model=ask.model,
        messages=body["messages"],
        sampling=_sampling(
            ask,
            tools=_own(body.get("tools")),
            **{name: body.get(name) for name in _PASSED_ON},
        ),
        server_tools=_named(ask.tools),
        body_hash=body_hash(body),
        max_tokens=_bounded(wanted, max_tokens, field),
        include_usage=bool(ask.stream_options and ask.stream_options.include_usage),
        stream=bool(ask.stream),
        session_id=ask.session_id or _session_in(ask.metadata),
    )


def _session_in(metadata: Any) -> str | None:
    """The session that an OpenAI client names in its `metadata`. Raises ProblemError."""
    named = metadata.get("session_id") if isinstance(metadata, dict) else None
    if named is None:
        return None
    return check({"session_id": named}, SessionNamed).session_id


def chat_spec(
    body: dict[str, Any], model: str, history: list[dict[str, Any]], conversation_id: str
) -> JobSpec:
    """The spec of a `/chat` message that follows `history`. Raises ProblemError."""
    chat = check(body, ChatBody)
    return JobSpec(
        kind="chat",
        model=model,
        messages=[*history, {"role": "user", "content": chat.message}],
        sampling={},
        server_tools=_named(chat.tools),
        body_hash=body_hash(body),
        conversation_id=conversation_id,
    )


def body_hash(body: Mapping[str, Any]) -> str:
    """The same for bodies that differ in white space or the order of members only."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def idempotency_key(raw: str | None, field: str = "Idempotency-Key") -> str | None:
    """The key in an `Idempotency-Key` header, quoted or bare (draft-ietf-httpapi-…-07).

    Raises ProblemError for an empty, overlong or unprintable one; `field` is where it stood.
    """
    if raw is None:
        return None
    key = raw.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > KEY_MAX or not key.isascii() or not key.isprintable():
        raise ProblemError(
            "invalid_request",
            f"Expected 1 to {KEY_MAX} printable ASCII characters",
            field=field,
        )
    return key


def whole_number(raw: str) -> int | None:
    """A cursor as clients write it: digits only; None for anything else."""
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 15 else None


def _sampling(body: JobBody | CompletionBody, **more: Any) -> dict[str, Any]:
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    members = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "stop": stop,
        "seed": body.seed,
        **more,
    }
    return {name: value for name, value in members.items() if value is not None}


def _own(tools: Sequence[str | dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The client's own tools; None where it brings none beside those that it names."""
    own = [tool for tool in tools or () if not isinstance(tool, str)]
    return own if own or tools == [] else None


def _named(tools: Sequence[str | OwnTool] | None) -> list[str]:
    """The tools of the policy that are asked for, each once. Raises ProblemError."""
    named = list(dict.fromkeys(tool for tool in tools or () if isinstance(tool, str)))
    if len(named) > TOOLS_MAX:
        raise ProblemError("invalid_request", f"At most {TOOLS_MAX} tools by name", field="tools")
    return named


def _bounded(wanted: int | None, most: int, field: str) -> int | None:
    if wanted is not None and wanted > most:
        raise ProblemError("invalid_request", f"Expected 1 to {most}", field=field)
    return wanted
