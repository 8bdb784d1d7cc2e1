"""Whether an engine that was away is the one that came back, from what it says of itself. Pure.

Asked are only pages that engines answer at once, whatever they have to do: llama.cpp with twelve
answers under way took 1 to 2 ms for each (measured), and tens of seconds for a probe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from contracts.grants import EngineTarget
from control_plane.fleet.readings import names_of

_LISTED: Final = "/v1/models"
_VERSION: Final = "/version"
_PROPS: Final = "/props"
_TAGS: Final = "/api/tags"
_OLLAMA: Final = "/api/version"
# What msgspec raises for an answer, be it HTML, no UTF-8 or a thousand brackets.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_Page = TypeVar("_Page", bound=msgspec.Struct)


class _Meta(msgspec.Struct):
    """llama.cpp's, of the file that it has loaded."""

    n_params: int | None = None
    n_vocab: int | None = None
    size: int | None = None
    ftype: str | None = None


class _Entry(msgspec.Struct):
    """Of `/v1/models`; vLLM's `created` and `permission` are new in each answer."""

    id: str
    root: str | None = None
    parent: str | None = None
    meta: _Meta | None = None


class _List(msgspec.Struct):
    data: list[_Entry]


class _Version(msgspec.Struct):
    version: str | None = None


class _Props(msgspec.Struct):
    """llama.cpp's; what else is there are settings of requests, and names made up anew."""

    model_path: str | None = None
    chat_template: str | None = None
    build_info: str | None = None


class _Tag(msgspec.Struct):
    """The digest is of weights, template and parameters."""

    name: str
    digest: str


class _Tags(msgspec.Struct):
    models: list[_Tag]


def questions(engine: EngineTarget) -> tuple[str, ...]:
    """The paths to ask; empty for an engine of which nothing is proven."""
    match engine.kind:
        case "vllm":
            return (_LISTED, _VERSION, _PROPS)
        case "ollama":
            return (_TAGS, _OLLAMA)
        case "tf_serving":
            return ()


def identity_of(engine: EngineTarget, answers: Mapping[str, bytes]) -> str | None:
    """What tells server and model from others, as 64 hexadecimal digits; None where the answers
    cannot be read, or tell no more than a name. `answers` by path; empty: there is no such page.

    Of vLLM these are its version and where its model comes from; its template it does not tell.
    """
    try:
        model, server = _told(engine, answers)
    except _UNREADABLE:
        return None
    if not model:
        return None
    return hashlib.sha256(msgspec.json.encode([model, server])).hexdigest()


def _told(engine: EngineTarget, answers: Mapping[str, bytes]) -> tuple[list[Any], str | None]:
    """Of the model, nothing where only its name is told, and the server's version."""
    if engine.kind == "ollama":
        tags = msgspec.json.decode(answers[_TAGS], type=_Tags).models
        digests = [tag.digest for tag in tags if tag.name in names_of(engine.model)]
        return digests, _read(answers[_OLLAMA], _Version).version
    listed = msgspec.json.decode(answers[_LISTED], type=_List).data
    props = _read(answers[_PROPS], _Props)
    own = [entry for entry in listed if entry.id == engine.model]
    if props.model_path:
        own = own or listed  # llama.cpp answers to any name, with what it has
    told: list[Any] = [
        part for entry in own for part in (entry.root, entry.parent, entry.meta) if part
    ]
    if props != _Props():
        told.append(props)
    return told, _read(answers[_VERSION], _Version).version


def _read(body: bytes, kind: type[_Page]) -> _Page:
    return msgspec.json.decode(body, type=kind) if body else kind()
