"""Whether an engine goes on behind a text that it is given, read from its answers. Pure.

Nobody's word is taken for it. The same few words are sent as the beginning of an answer,
in forms that cost different numbers of prompt tokens only where the turn was closed and
a new one begun:

    bare      the question alone
    once      the question, and four words of an answer to be continued
    twice     the question, and eight words
    closed    as once, without the flags that ask for a continuation (OpenAI API only)
    spaced    as once, with empty lines at the end: are they counted?

Words are one token each in every common vocabulary, so text costs the same in each form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from contracts.grants import EngineTarget

Form = Literal["bare", "once", "twice", "closed", "spaced"]

WORDS: Final = "one two six four"
QUESTION: Final = "Say some words."
_TEXTS: Final[dict[Form, str]] = {
    "bare": "",
    "once": WORDS,
    "twice": f"one two six ten {WORDS}",
    "closed": WORDS,
    "spaced": f"{WORDS}\n\n",
}
# Enough to see the words come again; of the other forms only the count matters.
_ECHO_TOKENS: Final = 8
# Statuses that refuse such a request for good; all others may be of the moment.
_REFUSALS: Final = frozenset({400, 405, 422, 501})


@dataclass(frozen=True, slots=True)
class Capability:
    """What was found out; see `EngineTarget`."""

    continues: bool = False
    trims: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine made of one form. `prompt_tokens` is 0 where it did not count."""

    status: int
    text: str = ""
    prompt_tokens: int = 0
    ended: bool = False

    @property
    def decides(self) -> bool:
        """Whether it says anything about the engine, rather than about a bad moment."""
        return self.ended or self.status in _REFUSALS


def forms_for(engine: EngineTarget) -> tuple[Form, ...]:
    """What to ask, in this order; empty for an engine that has no texts to continue."""
    match engine.kind:
        case "vllm":
            return ("once", "bare", "twice", "closed", "spaced")
        case "ollama":
            return ("once", "bare", "twice", "spaced")
        case "tf_serving":
            return ()


def request_for(engine: EngineTarget, form: Form) -> tuple[str, dict[str, Any]]:
    """URL and body of one form, as a broker would send it."""
    messages = [{"role": "user", "content": QUESTION}]
    if text := _TEXTS[form]:
        messages.append({"role": "assistant", "content": text})
    tokens = _ECHO_TOKENS if form == "once" else 1
    base = engine.base_url.rstrip("/")
    body: dict[str, Any] = {"model": engine.model, "messages": messages, "stream": True}
    if engine.kind == "ollama":
        options = {"num_predict": tokens, "temperature": 0}
        return f"{base}/api/chat", body | {"options": options}
    body |= {"stream_options": {"include_usage": True}, "max_tokens": tokens, "temperature": 0}
    if text and form != "closed":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return f"{base}/v1/chat/completions", body


def read_answer(engine: EngineTarget, status: int, body: bytes) -> Answer:
    """A whole answer, streamed as SSE or NDJSON. Never raises."""
    if status != 200:
        return Answer(status)
    text, count, ended = "", 0, False
    for item in _objects(body):
        if item.get("error") is not None:
            return Answer(status)
        said, counted, over = _of_ollama(item) if engine.kind == "ollama" else _of_openai(item)
        text, count, ended = text + said, counted or count, ended or over
    return Answer(status, text, count, ended)


def is_loaded(model: str, body: bytes) -> bool:
    """Whether Ollama's `/api/ps` names the model; a server that does not tell has it loaded."""
    try:
        listed = json.loads(body)["models"]
        names = {name for entry in listed for name in (entry.get("name"), entry.get("model"))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True
    return bool(names & {model, f"{model}:latest"})


def verdict(seen: Mapping[Form, Answer]) -> Capability:
    """What the answers prove; `once` is among them. No evidence against it is enough:
    the engine has taken the request for what it is."""
    once = seen["once"]
    if once.status != 200 or once.text.startswith(WORDS):
        return Capability()
    counts = {form: answer.prompt_tokens for form, answer in seen.items()}
    if not _opened_by_flags(counts) and _closing_tokens(counts) > 0:
        return Capability()
    spaced = counts.get("spaced", 0)
    return Capability(continues=True, trims=0 < spaced <= counts["once"])


def _opened_by_flags(counts: Mapping[Form, int]) -> bool:
    """Without the flags the turn is closed, and that costs tokens."""
    return 0 < counts["once"] < counts.get("closed", 0)


def _closing_tokens(counts: Mapping[Form, int]) -> int:
    """What four words of an answer cost more than four more words of it."""
    bare, once, twice = (counts.get(form, 0) for form in ("bare", "once", "twice"))
    if not (bare and once and twice):
        return 0
    return (once - bare) - (twice - once)


def _objects(body: bytes) -> list[dict[str, Any]]:
    found = []
    for line in body.split(b"\n"):
        try:
            item = json.loads(line.strip().removeprefix(b"data:"))
        except (ValueError, RecursionError):
            continue
        if isinstance(item, dict):
            found.append(item)
    return found


def _of_openai(item: dict[str, Any]) -> tuple[str, int, bool]:
    text, over = "", False
    for choice in _list(item.get("choices")):
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else None
        text += content if isinstance(content, str) else ""
        over |= choice.get("finish_reason") in ("stop", "length")
    usage = item.get("usage")
    return text, _count(usage.get("prompt_tokens")) if isinstance(usage, dict) else 0, over


def _of_ollama(item: dict[str, Any]) -> tuple[str, int, bool]:
    message = item.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    text = content if isinstance(content, str) else ""
    return text, _count(item.get("prompt_eval_count")), item.get("done") is True


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
