"""What the answers of engines prove, with engines that behave in every way known."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.grants import EngineKind, EngineTarget
from control_plane.continuation import (
    WORDS,
    Answer,
    Capability,
    Form,
    forms_for,
    is_loaded,
    read_answer,
    request_for,
    verdict,
)

VLLM = EngineTarget(kind="vllm", base_url="http://gpu:1/", model="m")
OLLAMA = EngineTarget(kind="ollama", base_url="http://gpu:2", model="m")
Count = Callable[[dict[str, Any]], int]

HEADER, CLOSING = 3, 2


def template(body: dict[str, Any], *, flags: bool, prefills: bool, trims: bool = False) -> int:
    """Prompt tokens by a ChatML-like template: with or without regard for vLLM's flags, and
    with or without a continuation of its own of a last assistant message."""
    *_, last = body["messages"]
    text = last["content"].rstrip() if trims else last["content"]
    words = len(text.replace("\n\n", " \n").split(" "))
    question = HEADER + 5 + CLOSING
    if last["role"] == "user":
        return question + HEADER
    asked = body.get("continue_final_message", False)
    goes_on = prefills or (flags and asked)
    return question + HEADER + words + (0 if goes_on else CLOSING + HEADER)


def characters(body: dict[str, Any]) -> int:
    """As a stand-in counts: four characters a token."""
    return sum(len(message["content"]) for message in body["messages"]) // 4


OBEYS = partial(template, flags=True, prefills=False)
OBEYS_AND_TRIMS = partial(template, flags=True, prefills=False, trims=True)
PREFILLS = partial(template, flags=False, prefills=True)
PREFILLS_AND_TRIMS = partial(template, flags=False, prefills=True, trims=True)
CLOSES = partial(template, flags=False, prefills=False)


def never(_: dict[str, Any]) -> int:
    """Counts nothing."""
    return 0


def seen(engine: EngineTarget, count: Count, text: str = " five") -> dict[Form, Answer]:
    bodies = {form: request_for(engine, form)[1] for form in forms_for(engine)}
    return {form: Answer(200, text, count(body), ended=True) for form, body in bodies.items()}


@pytest.mark.parametrize(
    ("engine", "count", "found"),
    [
        (VLLM, OBEYS, Capability(True)),
        (VLLM, OBEYS_AND_TRIMS, Capability(True, True)),
        (VLLM, PREFILLS, Capability(True)),
        (VLLM, CLOSES, Capability()),
        (OLLAMA, PREFILLS, Capability(True)),
        (OLLAMA, PREFILLS_AND_TRIMS, Capability(True, True)),
        (OLLAMA, CLOSES, Capability()),
        (VLLM, never, Capability(True)),
        (OLLAMA, never, Capability(True)),
        (OLLAMA, characters, Capability(True)),
    ],
)
def test_the_count_of_the_prompt_tells_whether_the_turn_was_closed(
    engine: EngineTarget, count: Count, found: Capability
) -> None:
    assert verdict(seen(engine, count)) == found


def test_one_closing_token_is_enough_to_tell() -> None:
    """Mistral's templates end a turn with one token and have no header."""

    def mistral(body: dict[str, Any]) -> int:
        *_, last = body["messages"]
        return 8 if last["role"] == "user" else 8 + len(last["content"].split()) + 1

    assert verdict(seen(OLLAMA, mistral)) == Capability()


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_is_a_no(status: int) -> None:
    assert Answer(status).decides
    assert verdict({"once": Answer(status)}) == Capability()


@pytest.mark.parametrize("status", [200, 401, 404, 408, 429, 500, 503])
def test_a_bad_moment_decides_nothing(status: int) -> None:
    assert not Answer(status).decides


def test_words_that_come_again_are_a_no() -> None:
    assert verdict(seen(VLLM, never, f"{WORDS} five")) == Capability()


def test_a_model_that_repeats_itself_goes_on_all_the_same() -> None:
    assert verdict(seen(VLLM, never, f" {WORDS}")).continues


def test_forms_that_failed_are_no_evidence() -> None:
    answers = seen(OLLAMA, PREFILLS)
    assert verdict(answers | {"twice": Answer(500), "spaced": Answer(500)}) == Capability(True)
    assert verdict({"once": answers["once"]}).continues


def test_a_continuation_is_asked_for_as_a_broker_asks() -> None:
    url, body = request_for(VLLM, "once")
    assert url == "http://gpu:1/v1/chat/completions"
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["messages"][-1] == {"role": "assistant", "content": WORDS}
    assert "continue_final_message" not in request_for(VLLM, "closed")[1]
    assert len(request_for(VLLM, "bare")[1]["messages"]) == 1
    url, body = request_for(OLLAMA, "twice")
    assert (url, body["options"]["num_predict"]) == ("http://gpu:2/api/chat", 1)


def test_where_there_is_no_text_nothing_is_asked() -> None:
    assert forms_for(EngineTarget(kind="tf_serving", base_url="http://gpu:3", model="m")) == ()


OPENAI = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":" five"},"finish_reason":null}]}\r\n\r\n'
    b': comment\n\ndata: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":38,"completion_tokens":1}}\n\n'
    b"data: [DONE]\n\n"
)
NDJSON = (
    b'{"message":{"role":"assistant","content":" five"},"done":false}\n'
    b'{"message":{"content":""},"done":true,"done_reason":"length","prompt_eval_count":38}\n'
)


@pytest.mark.parametrize(("engine", "body"), [(VLLM, OPENAI), (OLLAMA, NDJSON)])
def test_a_whole_answer_is_read(engine: EngineTarget, body: bytes) -> None:
    assert read_answer(engine, 200, body) == Answer(200, " five", 38, ended=True)


@pytest.mark.parametrize(("engine", "body"), [(VLLM, OPENAI), (OLLAMA, NDJSON)])
def test_an_answer_cut_short_decides_nothing(engine: EngineTarget, body: bytes) -> None:
    assert not read_answer(engine, 200, body[:90]).decides


@pytest.mark.parametrize("engine", [VLLM, OLLAMA])
def test_an_error_in_the_stream_decides_nothing(engine: EngineTarget) -> None:
    body = OPENAI + NDJSON + b'data: {"error": {"message": "dead"}}\n\n'
    assert not read_answer(engine, 200, body).decides


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "usage", "message", "prompt_tokens"]),
            inner,
            max_size=3,
        )
    ),
)


@given(st.sampled_from(["vllm", "ollama"]), st.one_of(json_values, st.binary()))
def test_whatever_an_engine_says_can_be_read(kind: EngineKind, said: Any) -> None:
    engine = EngineTarget(kind=kind, base_url="http://gpu", model="m")
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    assert read_answer(engine, 200, b"data: " + body).status == 200


@pytest.mark.parametrize(
    ("body", "loaded"),
    [
        (b'{"models":[{"name":"m:latest","model":"m:latest"}]}', True),
        (b'{"models":[{"name":"m"}]}', True),
        (b'{"models":[{"name":"other:latest"}]}', False),
        (b'{"models":[]}', False),
        (b"404 page not found", True),
        (b'{"models":[3]}', True),
    ],
)
def test_a_model_that_is_not_in_memory_is_known(body: bytes, loaded: bool) -> None:
    assert is_loaded("m", body) is loaded
