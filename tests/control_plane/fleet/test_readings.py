"""What engines answer, from the real ones' answers to rubbish."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import readings as r
from control_plane.fleet.readings import Load, Offer, Powers

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="smollm2-135m"} 4.0
vllm:num_requests_running{engine="1",model_name="smollm2-135m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="smollm2-135m"} 8.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 8.0
vllm:kv_cache_usage_perc{engine="0",model_name="smollm2-135m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="smollm2-135m"} 0.97
"""
LLAMACPP = b"llamacpp:requests_processing 2\r\nllamacpp:requests_deferred 3\n"
PROPS = {
    "default_generation_settings": {"n_ctx": 2048},
    "total_slots": 8,
    "modalities": {"vision": False, "audio": False},
    "chat_template": "{% for message in messages %}…{% endfor %}",
    "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False},
}
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def test_loads_are_summed_and_the_fullest_memory_counts() -> None:
    assert r.load_of(VLLM) == Load(5, 8, 0.97)
    assert r.load_of(LLAMACPP) == Load(2, 3, None)


@pytest.mark.parametrize("text", [b"NaN", b"-1", b"+Inf", b"1e999", b"x", b""])
def test_a_load_that_is_no_number_is_none(text: bytes) -> None:
    assert r.load_of(b"vllm:num_requests_running " + text + b"\n") == Load()


def test_vllm_tells_its_models_and_their_contexts() -> None:
    models = {"data": [{"id": "smollm2-135m", "max_model_len": 2048}, {"id": "lora"}, {}]}
    found = r.offer_of_openai(encoded(models), b"")
    assert found == Offer(frozenset({"smollm2-135m", "lora"}), None, {"smollm2-135m": 2048}, None)


def test_llamacpp_tells_its_slots_and_answers_to_any_name() -> None:
    models = {"data": [{"id": "smollm2:135m", "meta": {"n_ctx": 2048}}]}
    assert r.offer_of_openai(encoded(models), encoded(PROPS)) == Offer(None, None, {"": 2048}, 8)
    assert r.powers_of_props(encoded(PROPS)) == Powers(
        frozenset(), frozenset({"reasoning", "vision"})
    )
    template = {"total_slots": 1, "chat_template": "{% if tools %}…{% endif %}<think>"}
    assert r.powers_of_props(encoded(template)).able == {"tools", "reasoning"}


def test_ollama_tells_what_it_has_and_what_is_loaded() -> None:
    tags = {"models": [{"name": "a:latest"}, {"name": "b:1"}]}
    ps = {"models": [{"name": "a:latest", "context_length": 4096}]}
    found = r.offer_of_ollama(encoded(tags), encoded(ps))
    assert found == Offer(
        frozenset({"a:latest", "b:1"}), frozenset({"a:latest"}), {"a:latest": 4096}
    )
    assert r.names_of("a") & (found.loaded or frozenset())
    show = {
        "capabilities": ["completion", "tools", "thinking"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
    }
    assert r.powers_of_show(encoded(show)) == Powers(
        frozenset({"tools", "reasoning"}), frozenset({"vision", "embeddings"})
    )
    assert r.context_of_show(encoded(show)) == 8192


def test_an_ollama_that_has_nothing_loaded_is_cold_and_a_silent_one_is_not() -> None:
    assert r.offer_of_ollama(None, encoded({"models": []})).loaded == frozenset()
    assert r.offer_of_ollama(None, HTML).loaded is None


@pytest.mark.parametrize("body", [b"", HTML, b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000])
def test_rubbish_says_nothing(body: bytes) -> None:
    assert r.load_of(body) == Load()
    assert r.offer_of_openai(body, body) == Offer()
    assert r.offer_of_ollama(body, body) == Offer()
    assert r.powers_of_props(body) == r.powers_of_show(body) == Powers()
    assert r.context_of_show(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["data", "models", "id", "name", "meta", "n_ctx", "total_slots", "capabilities",
             "context_length", "max_model_len", "model_info", "x.context_length", "modalities",
             "vision", "chat_template", "chat_template_caps", "supports_tools",
             "default_generation_settings"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_no_object_whatever_breaks_the_reading(value: object) -> None:
    body = encoded(value)
    offer = r.offer_of_openai(body, body)
    assert all(limit > 0 for limit in offer.contexts.values())
    assert offer.slots is None or offer.slots > 0
    assert r.offer_of_ollama(body, body).slots is None
    assert not r.powers_of_props(body).able & r.powers_of_props(body).unable
    assert not r.powers_of_show(body).able & r.powers_of_show(body).unable
    r.context_of_show(body)
