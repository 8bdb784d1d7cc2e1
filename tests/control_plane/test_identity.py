"""What engines say of themselves, as they say it, and which of it makes them another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.grants import EngineTarget
from control_plane.identity import identity_of, questions

VLLM = EngineTarget(kind="vllm", base_url="http://a.test", model="small")
OLLAMA = EngineTarget(kind="ollama", base_url="http://a.test", model="small")
Said = dict[str, Any]

VLLM_SAYS: Said = {
    "/v1/models": {
        "object": "list",
        "data": [
            {
                "id": "small",
                "created": 1763850000,
                "owned_by": "vllm",
                "root": "/models/small",
                "parent": None,
                "max_model_len": 2048,
                "permission": [{"id": "modelperm-1"}],
            },
            {"id": "other", "root": "/models/other"},
        ],
    },
    "/version": {"version": "0.11.2"},
    "/props": None,
}
LLAMACPP_SAYS: Said = {
    "/v1/models": {
        "models": [{"name": "file"}],
        "data": [
            {
                "id": "file",
                "created": 1763850000,
                "meta": {"n_vocab": 49152, "n_ctx": 2048, "n_params": 134515008, "size": 96576768},
            }
        ],
    },
    "/version": None,
    "/props": {
        "total_slots": 8,
        "model_path": "/models/file.gguf",
        "media_marker": "<__media_1__>",
        "chat_template": "{{ messages }}",
    },
}
OLLAMA_SAYS: Said = {
    "/api/tags": {
        "models": [
            {"name": "small:latest", "digest": "9077fe9d", "modified_at": "2026-11-01T10:00:00Z"},
            {"name": "other:latest", "digest": "1111"},
        ]
    },
    "/api/version": {"version": "0.12.0"},
}


def _identity(engine: EngineTarget, said: Said) -> str | None:
    pages = {
        path: b"" if page is None else json.dumps(page).encode() for path, page in said.items()
    }
    return identity_of(engine, pages)


def _changed(said: Said, *path: Any, to: Any) -> Said:
    copy: Said = json.loads(json.dumps(said))
    place: Any = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return copy


MODEL = ("/v1/models", "data", 0)


@pytest.mark.parametrize(
    ("engine", "said", "path", "to"),
    [
        (VLLM, VLLM_SAYS, (*MODEL, "created"), 1763859999),
        (VLLM, VLLM_SAYS, (*MODEL, "permission"), [{"id": "modelperm-2"}]),
        (VLLM, VLLM_SAYS, ("/v1/models", "data", 1, "root"), "/models/new"),
        (VLLM, LLAMACPP_SAYS, (*MODEL, "created"), 1763859999),
        (VLLM, LLAMACPP_SAYS, ("/props", "media_marker"), "<__media_2__>"),
        (OLLAMA, OLLAMA_SAYS, ("/api/tags", "models", 1, "digest"), "2222"),
    ],
)
def test_the_same_engine_started_again_is_the_same(
    engine: EngineTarget, said: Said, path: tuple[Any, ...], to: Any
) -> None:
    assert questions(engine) == tuple(said)
    assert _identity(engine, said) == _identity(engine, _changed(said, *path, to=to)) is not None


@pytest.mark.parametrize(
    ("engine", "said", "path", "to"),
    [
        (VLLM, VLLM_SAYS, (*MODEL, "root"), "/models/small-v2"),
        (VLLM, VLLM_SAYS, (*MODEL, "parent"), "base"),
        (VLLM, VLLM_SAYS, ("/version",), {"version": "0.12.0"}),
        (VLLM, VLLM_SAYS, ("/props",), LLAMACPP_SAYS["/props"]),
        (VLLM, LLAMACPP_SAYS, ("/props", "model_path"), "/models/new.gguf"),
        (VLLM, LLAMACPP_SAYS, ("/props", "chat_template"), "{{ other }}"),
        (VLLM, LLAMACPP_SAYS, (*MODEL, "meta", "size"), 1),
        (OLLAMA, OLLAMA_SAYS, ("/api/tags", "models", 0, "digest"), "9999"),
        (OLLAMA, OLLAMA_SAYS, ("/api/version", "version"), "0.13.0"),
    ],
)
def test_another_model_template_or_server_is_another(
    engine: EngineTarget, said: Said, path: tuple[Any, ...], to: Any
) -> None:
    changed = _identity(engine, _changed(said, *path, to=to))
    assert changed is not None
    assert changed != _identity(engine, said)


@pytest.mark.parametrize(
    ("engine", "said", "path", "to"),
    [
        (VLLM, VLLM_SAYS, (*MODEL, "id"), "not this one"),
        (VLLM, VLLM_SAYS, ("/v1/models", "data"), [{"id": "small"}]),
        (VLLM, VLLM_SAYS, ("/v1/models", "data"), [{"id": 7}]),
        (VLLM, VLLM_SAYS, ("/v1/models",), None),
        (VLLM, VLLM_SAYS, ("/version",), ["no object"]),
        (OLLAMA, OLLAMA_SAYS, ("/api/tags", "models"), []),
        (OLLAMA, OLLAMA_SAYS, ("/api/tags", "models", 0, "digest"), 7),
        (OLLAMA, OLLAMA_SAYS, ("/api/tags",), None),
    ],
)
def test_who_tells_no_more_than_a_name_or_cannot_be_read_is_nobody(
    engine: EngineTarget, said: Said, path: tuple[Any, ...], to: Any
) -> None:
    assert _identity(engine, _changed(said, *path, to=to)) is None


@pytest.mark.parametrize(
    "page",
    [
        b"<html>",
        b"\xff",
        b"null",
        b"[" * 100_000,
        b'{"data": [{"id": "\xff"}], "models": [{"name": "\xff"}]}',
        b'{"data": [], "models": [], "more": ' + b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_nobody(page: bytes) -> None:
    assert identity_of(VLLM, dict.fromkeys(questions(VLLM), page)) is None
    assert identity_of(OLLAMA, dict.fromkeys(questions(OLLAMA), page)) is None


def test_nothing_is_asked_of_an_engine_that_is_not_probed() -> None:
    assert questions(EngineTarget(kind="tf_serving", base_url="http://a.test", model="m")) == ()
