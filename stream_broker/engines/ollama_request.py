"""A call in the words of Ollama's `/api/chat` (source: Ollama's `docs/api.md`)."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_broker.engines.call import EngineCall


def chat_body(call: EngineCall) -> dict[str, Any]:
    """The body of the request.

    `truncate: false` makes a prompt that does not fit an error, as with every other
    engine, where Ollama by itself drops the oldest messages without a word. `keep_alive`
    and `think` are left to the server's own settings. Ollama knows no `tool_choice`:
    "none" leaves the tools out, anything else leaves the choice to the model; nor does it
    know `parallel_tool_calls`, `logit_bias` and `reasoning_effort`.
    """
    options = {
        "num_predict": call.max_tokens,
        "temperature": call.temperature,
        "top_p": call.top_p,
        "stop": list(call.stop) or None,
        "seed": call.seed,
        "frequency_penalty": call.frequency_penalty,
        "presence_penalty": call.presence_penalty,
    }
    body: dict[str, Any] = {
        "model": call.model,
        "messages": _messages(call.conversation()),
        "stream": True,
        "truncate": False,
        "options": {name: value for name, value in options.items() if value is not None},
    }
    if call.tools and call.tool_choice != "none":
        body["tools"] = call.tools
    if (form := _format(call.response_format)) is not None:
        body["format"] = form
    return body


def _format(response_format: dict[str, Any] | None) -> Any:
    """`"json"` or a JSON schema."""
    match response_format:
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema
    return None


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI's messages as Ollama's; a tool's answer finds its name by the call's id."""
    names: dict[str, str] = {}
    translated = []
    for message in messages:
        calls = [_call(call, names) for call in message.get("tool_calls") or ()]
        text, images = _content(message.get("content"))
        ours: dict[str, Any] = {"role": message.get("role"), "content": text}
        if images:
            ours["images"] = images
        if calls:
            ours["tool_calls"] = calls
        if message.get("role") == "tool":
            call_id = str(message.get("tool_call_id", ""))
            ours |= {"tool_call_id": call_id, "tool_name": names.get(call_id, "")}
        translated.append(ours)
    return translated


def _call(call: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """OpenAI's arguments are JSON text, Ollama's are the object."""
    function = call.get("function") or {}
    name, text = str(function.get("name", "")), function.get("arguments") or "{}"
    names[str(call.get("id", ""))] = name
    try:
        arguments = msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, TypeError, RecursionError):
        arguments = {}
    return {"id": call.get("id", ""), "function": {"name": name, "arguments": arguments}}


def _content(content: Any) -> tuple[str, list[str]]:
    """Text, and images as base64: OpenAI lists parts, Ollama keeps the two apart."""
    if not isinstance(content, list):
        return content or "", []
    texts, images = [], []
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}} if ";base64," in url:
                images.append(url.partition(";base64,")[2])
    return "\n".join(texts), images
