"""The log in the OpenAI API's shape: chunks, or one completion at the end.

Where an event makes several blocks only the last carries its `id:`; events without a
shape are skipped, so ids may jump; the role chunk has none. A stream that did not end
cleanly has an error chunk and no `[DONE]`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream_broker.events import Event, token_json
from stream_broker.record import JobHead, JobState

_encode = msgspec.json.encode


class OpenAIView:
    """Chunks of one job. The same job gives the same chunks from any cursor."""

    def __init__(self, head: JobHead, cursor: int) -> None:
        self._cursor = cursor
        self._usage = head.include_usage
        self._base = {
            "id": completion_id(head.job_id),
            "object": "chat.completion.chunk",
            "created": int(head.created_at),
            "model": head.model,
        }
        # All chunks of text are equal but for the text: JSON that the event holds already.
        self._text_head, _, self._text_tail = self._chunk({"content": ""}, None).partition(b'""')

    @property
    def text_form(self) -> tuple[bytes, bytes]:
        """What stands before and after the JSON of a text, in a block without its `id:`."""
        return self._text_head, self._text_tail

    def opening(self) -> bytes:
        """The role chunk, unless the client has had it."""
        if self._cursor:
            return b""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def blocks(self, events: list[Event]) -> bytes:
        """See View."""
        if len(events) == 1:
            return self._blocks(events[0])
        head, tail = self._text_head, self._text_tail
        return b"".join(
            [
                b"id: %d\n%b%b%b" % (event.seq, head, token_json(event), tail)
                if event.name == "token"
                else self._blocks(event)
                for event in events
            ]
        )

    def failure(self, event: Event) -> bytes:
        """See View."""
        return _data({"error": error_object(event)})

    def _blocks(self, event: Event) -> bytes:
        if event.name == "token":
            return b"id: %d\n%b%b%b" % (
                event.seq,
                self._text_head,
                token_json(event),
                self._text_tail,
            )
        marked = b"id: %d\n" % event.seq
        body = event.body()
        match event.name:
            case "reasoning":
                return marked + self._chunk({"reasoning_content": body["reasoning"]}, None)
            # What the broker answers itself is no call to this client.
            case "tool_call" if not body.get("server"):
                return marked + self._chunk({"tool_calls": [_tool_call(body)]}, None)
            case "job_complete":
                return self._ending(body, marked)
            case "job_error" | "job_cancelled":
                return marked + _data({"error": error_object(event)})
        return b""

    def _ending(self, body: dict[str, Any], marked: bytes) -> bytes:
        blocks = self._chunk({}, body["finish_reason"])
        if self._usage:
            blocks += _data(self._base | {"choices": [], "usage": openai_usage(body["usage"])})
        return blocks + marked + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = self._base | {"choices": [choice]}
        if self._usage:
            chunk["usage"] = None
        return _data(chunk)


def completion_id(job_id: str) -> str:
    """The `id` of chunks and completions."""
    return f"chatcmpl-{job_id}"


def completion(state: JobState, events: list[Event]) -> dict[str, Any]:
    """The finished completion as one object. `events` is the whole log of a clean end."""
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    for event in events:
        body = event.body()
        if event.name == "token":
            content.append(body["token"])
        elif event.name == "reasoning":
            reasoning.append(body["reasoning"])
        elif event.name == "tool_call" and not body.get("server"):
            calls.append({k: v for k, v in _tool_call(body).items() if k != "index"})
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(content) if content or not calls else None,
        "refusal": None,
    }
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    end = state.end or {}
    return {
        "id": completion_id(state.head.job_id),
        "object": "chat.completion",
        "created": int(state.head.created_at),
        "model": state.head.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": end["finish_reason"],
            }
        ],
        "usage": openai_usage(end["usage"]),
    }


def openai_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage in the OpenAI API's members."""
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
    }


def error_object(event: Event) -> dict[str, Any]:
    """The `error` member for a job that did not end cleanly."""
    body = event.body()
    if event.name == "job_cancelled":
        return {
            "message": f"The job was cancelled: {body['reason']}",
            "type": "job_cancelled",
            "param": None,
            "code": "job_cancelled",
        }
    kind = "server_error" if body["retryable"] else "invalid_request_error"
    return {"message": body["message"], "type": kind, "param": None, "code": body["code"]}


def _tool_call(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": body["index"],
        "id": body["id"],
        "type": "function",
        "function": {"name": body["name"], "arguments": body["arguments"]},
    }


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)
