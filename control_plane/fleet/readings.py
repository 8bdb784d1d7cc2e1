"""What engines answer about themselves, read. Nothing here raises: an answer that cannot be
read, be it HTML or half an object, says nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

_SAMPLE: Final = re.compile(
    rb"^((?:vllm|llamacpp):[a-z_]+)(?:\{[^\n]*\})?[ \t]+([0-9.eE+-]+)[ \t]*\r?$", re.MULTILINE
)
_RUNNING: Final = frozenset({b"vllm:num_requests_running", b"llamacpp:requests_processing"})
_WAITING: Final = frozenset({b"vllm:num_requests_waiting", b"llamacpp:requests_deferred"})
_CACHE: Final = b"vllm:kv_cache_usage_perc"
_COUNT_MAX: Final = 1_000_000
_CONTEXT_MAX: Final = 1 << 31
# Names that one engine may list; more are nobody's models.
_NAMES_MAX: Final = 1000

# Ollama's words for what a model can; of those that it does not name, it has none.
_OLLAMA_WORDS: Final = {
    "tools": "tools",
    "thinking": "reasoning",
    "vision": "vision",
    "embedding": "embeddings",
}


class Load(msgspec.Struct, frozen=True):
    """What an engine has to do: requests running and waiting; `cache`: how much of its memory
    for contexts is taken, of 1. None where it does not tell."""

    running: int | None = None
    waiting: int | None = None
    cache: float | None = None


class Powers(msgspec.Struct, frozen=True):
    """What a model can and cannot, of CAPABILITIES; of the others nothing is known."""

    able: frozenset[str] = frozenset()
    unable: frozenset[str] = frozenset()


class Offer(msgspec.Struct, frozen=True):
    """What an engine has. `models`: the names that it knows, None: not told, or it answers to
    any; `loaded`: those in memory, None: all that it has; `contexts` in tokens by name;
    `slots`: jobs that it runs at once, None: not told."""

    models: frozenset[str] | None = None
    loaded: frozenset[str] | None = None
    contexts: dict[str, int] = {}
    slots: int | None = None


def load_of(metrics: bytes) -> Load:
    """The metrics of vLLM or llama.cpp (Prometheus text), summed over an engine's parts."""
    running = waiting = cache = None
    for name, text in _SAMPLE.findall(metrics):
        value = _number(text)
        if value is None:
            continue
        if name in _RUNNING:
            running = min(_COUNT_MAX, (running or 0) + int(value))
        elif name in _WAITING:
            waiting = min(_COUNT_MAX, (waiting or 0) + int(value))
        elif name == _CACHE:
            cache = max(cache or 0.0, min(1.0, value))
    return Load(running, waiting, cache)


def offer_of_openai(models: bytes, props: bytes | None = None) -> Offer:
    """`/v1/models`, and `/props` where the engine is llama.cpp, which answers to any name."""
    listed = list(_entries(models, "data"))
    contexts: dict[str, int] = {}
    for entry in listed:
        limit = entry.get("max_model_len") or _member(entry.get("meta"), "n_ctx")
        if (context := _count(limit, _CONTEXT_MAX)) is not None:
            contexts[entry["id"]] = context
    if is_llamacpp(props):
        described = _object(props)
        limit = _member(described.get("default_generation_settings"), "n_ctx")
        slots = _count(described.get("total_slots"), _COUNT_MAX)
        context = _count(limit, _CONTEXT_MAX)
        return Offer(contexts={"": context} if context else contexts, slots=slots)
    names = frozenset(entry["id"] for entry in listed)
    return Offer(models=names or None, contexts=contexts)


def is_llamacpp(props: bytes | None) -> bool:
    """Whether this is an answer of llama.cpp's to `/props`."""
    return "total_slots" in _object(props)


def powers_of_props(props: bytes) -> Powers:
    """What llama.cpp says of the template and the projector that it was given.

    A template without tools is no refusal: llama.cpp then describes them in a form of its own
    (measured: xllamacpp 2026.10 takes them for SmolLM2, whose template has none).
    """
    described = _object(props)
    known: dict[str, bool] = {}
    can = _member(described.get("chat_template_caps"), "supports_tools")
    template = described.get("chat_template")
    if can is True or (can is None and isinstance(template, str) and "tools" in template):
        known["tools"] = True
    if isinstance(template, str):
        known["reasoning"] = "<think>" in template
    sees = _member(described.get("modalities"), "vision")
    if isinstance(sees, bool):
        known["vision"] = sees
    return _powers(known)


def offer_of_ollama(tags: bytes | None, ps: bytes | None) -> Offer:
    """`/api/tags` and `/api/ps`. A model that is loaded has the context it was loaded with."""
    contexts: dict[str, int] = {}
    loaded: set[str] = set()
    for entry in _entries(ps, "models", "name"):
        loaded.add(entry["name"])
        if (context := _count(entry.get("context_length"), _CONTEXT_MAX)) is not None:
            contexts[entry["name"]] = context
    names = frozenset(entry["name"] for entry in _entries(tags, "models", "name"))
    told = isinstance(_object(ps).get("models"), list)
    return Offer(
        models=names or None,
        loaded=frozenset(loaded) if told else None,
        contexts=contexts,
    )


def powers_of_show(show: bytes) -> Powers:
    """`/api/show` of Ollama: it names all that a model can."""
    told = _object(show).get("capabilities")
    if not isinstance(told, list):
        return Powers()
    return _powers({ours: theirs in told for theirs, ours in _OLLAMA_WORDS.items()})


def context_of_show(show: bytes) -> int | None:
    """The longest context of a model, whatever it will be loaded with."""
    info = _object(show).get("model_info")
    for name, value in info.items() if isinstance(info, dict) else ():
        if name.endswith(".context_length"):
            return _count(value, _CONTEXT_MAX)
    return None


def is_served(status: bytes) -> bool | None:
    """TensorFlow Serving's `/v1/models/{m}`: is a version of it available? None: not told."""
    states = [entry.get("state") for entry in _entries(status, "model_version_status", "state")]
    return "AVAILABLE" in states if states else None


@lru_cache(maxsize=1024)
def names_of(model: str) -> frozenset[str]:
    """The names under which an engine may list a model: Ollama adds a tag."""
    return frozenset({model, f"{model}:latest"})


def _powers(known: dict[str, bool]) -> Powers:
    able = frozenset(name for name, can in known.items() if can)
    return Powers(able, frozenset(known) - able)


def _object(body: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _entries(body: bytes | None, member: str, name: str = "id") -> Iterator[dict[str, Any]]:
    """The objects of a list that have a name."""
    listed = _object(body).get(member)
    some: Iterable[Any] = listed[:_NAMES_MAX] if isinstance(listed, list) else ()
    for entry in some:
        if isinstance(entry, dict) and isinstance(entry.get(name), str):
            yield entry


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _count(value: Any, most: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        return None
    return value


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
