"""TensorFlow Serving: what it is asked, and what becomes of its one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.grants import EngineTarget
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Delta, Failure, Finish, Text
from stream_broker.engines.dialects import dialect_for
from stream_broker.engines.tf_serving import RESULT_MAX, PredictParser, predict_path
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.scripts import CALL
from tests.stream_broker.engines.wires import cut, parse, relaxed
from tests.support.eventually import eventually_async
from tests.support.tensorflow_wire import TensorFlowWire

PRETTY = b'{\n    "predictions": [2.5, 3.0, 4.50\n    ]\n}'


def asked(*messages: dict[str, Any]) -> Any:
    """The request that these messages become."""
    call = msgspec.structs.replace(CALL, model="half_plus_two", messages=list(messages))
    return json.loads(dialect_for("tf_serving").request(call).body)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("how much", {"instances": ["how much"]}),
        ('{"instances": [1.0, 2]}', {"instances": [1.0, 2]}),
        ('{"inputs": {"x": [[1]]}, "signature_name": "s"}',
         {"inputs": {"x": [[1]]}, "signature_name": "s"}),
        (" [1, 2, 5] ", {"instances": [1, 2, 5]}),
        ('{"x": 1}', {"instances": ['{"x": 1}']}),
        ("7", {"instances": ["7"]}),
        ("[1, 2", {"instances": ["[1, 2"]}),
        ("[" * 20_000, {"instances": ["[" * 20_000]}),
        ([{"type": "text", "text": "[1,"}, {"type": "text", "text": "2]"}], {"instances": [1, 2]}),
        (None, {"instances": [""]}),
    ],
)  # fmt: skip
def test_the_last_thing_the_user_said_is_the_request(said: Any, sent: Any) -> None:
    assert asked(user("[9]"), {"role": "assistant", "content": "[8]"}, user(said)) == sent


def test_a_conversation_without_a_user_asks_for_an_empty_text() -> None:
    assert asked({"role": "system", "content": "[1]"}) == {"instances": [""]}


def test_numbers_are_passed_on_as_they_were_written() -> None:
    call = msgspec.structs.replace(CALL, messages=[user('{"instances": [1.50, 1e-30]}')])
    assert dialect_for("tf_serving").request(call).body == b'{"instances": [1.50, 1e-30]}'


@pytest.mark.parametrize("model", ["half_plus_two", "a b", "a/../b", "ä:predict?x"])
def test_a_model_s_name_stays_one_part_of_the_path(model: str) -> None:
    path = predict_path(model)
    assert path.isascii()
    assert path.count("/") == 3
    assert path.count(":") == 1


@relaxed
@given(places=st.lists(st.integers(0, 200), max_size=6))
def test_the_answer_is_one_text_however_it_is_cut(places: list[int]) -> None:
    said = parse(PredictParser(RESULT_MAX), cut(PRETTY, places))
    assert said == [Text('{"predictions":[2.5,3.0,4.50]}'), Finish("stop")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "engine_error"),
        (b"<html></html>", "engine_error"),
        (b"[1, 2]", "engine_error"),
        (b'{"forecast": 1}', "engine_error"),
        (b'{"error": "a graph at /srv/models broke"}', "engine_error"),
        (b'{"predictions": [1', "engine_error"),
        (b'{"predictions": ["\xff"]}', "engine_error"),
        (b'{"predictions": ' + b"[" * 50_000, "engine_error"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(body: bytes, code: str) -> None:
    (failure,) = parse(PredictParser(RESULT_MAX), [body])
    assert isinstance(failure, Failure)
    assert failure.code == code
    assert "/srv" not in failure.message


def test_half_an_answer_is_cut_off() -> None:
    (failure,) = parse(PredictParser(RESULT_MAX), [PRETTY[:20]], complete=False)
    assert failure == Failure(
        "engine_truncated", "The engine ended the answer before it was complete."
    )


def test_what_is_too_long_is_refused_before_it_has_come() -> None:
    parser = PredictParser(100)
    assert parser.feed(b'{"predictions": [') == []
    (failure,) = parser.feed(b"1," * 50)
    assert isinstance(failure, Failure)
    assert failure.message == "The engine's answer is too long."
    assert parser.feed(b"more") == parser.eof(True) == []


@pytest.fixture(scope="module")
def wire() -> Iterator[TensorFlowWire]:
    with TensorFlowWire() as wire:
        yield wire


async def predicted(client: EngineClient, wire: TensorFlowWire, model: str) -> list[Delta]:
    listener = Listener()
    call = msgspec.structs.replace(CALL, messages=[user("[1, 2, 5]")])
    target = EngineTarget(kind="tf_serving", base_url=wire.url, model=model)
    await client.start(target, call, listener)
    await listener.end()
    return listener.heard


async def test_a_prediction_comes_whole(client: EngineClient, wire: TensorFlowWire) -> None:
    said = await predicted(client, wire, "half_plus_two")
    assert said == [Text('{"predictions":[2.5,3.0,4.5]}'), Finish("stop")]


async def test_numbers_that_json_lacks_come_too(client: EngineClient, wire: TensorFlowWire) -> None:
    said = await predicted(client, wire, "nan")
    assert said == [Text('{"predictions":[NaN,Infinity,0.5]}'), Finish("stop")]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("broken", "The engine refused the request (HTTP 500)."),
        ("page", "The engine sent something that cannot be read."),
        ("huge", "The engine's answer is too long."),
        ("nowhere", "The engine refused the request (HTTP 404)."),
    ],
)
async def test_trouble_is_told_in_one_sentence(
    client: EngineClient, wire: TensorFlowWire, model: str, told: str
) -> None:
    assert await predicted(client, wire, model) == [Failure("engine_error", told)]


async def test_a_cancel_closes_the_connection(client: EngineClient, wire: TensorFlowWire) -> None:
    async def waiting() -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            count: int = (await http.get(f"{wire.url}/waiting")).json()
            return count

    target = EngineTarget(kind="tf_serving", base_url=wire.url, model="slow")
    listener = Listener()
    stream = await client.start(target, CALL, listener)
    await eventually_async(waiting)
    stream.close()
    await eventually_async(lambda: _is_zero(waiting))
    assert listener.heard == []


async def _is_zero(count: Any) -> bool:
    return await count() == 0
