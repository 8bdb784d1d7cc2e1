"""What goes over the wire to the control plane, one by one and together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from contracts.grants import Grant, GrantQuestion, GrantRequest, Settlement
from contracts.problems import ProblemError, encode_problem
from contracts.tools import Invocation, ToolAnswer
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.settling import settlement_of
from tests.stream_broker.building import NOW, complete, grant, head, job_id
from tests.support.scripted_engine import Peer, ScriptedEngine, answer

Say = Callable[[str, Any], bytes]
GRANT = msgspec.json.encode(grant())
FULL = ProblemError("too_many_streams", "enough", fields={"RateLimit": '"streams";r=0'})
NO_ROUTE = answer("404 Not Found", encode_problem(ProblemError("not_found", "x")))


def ok(content: Any) -> bytes:
    return answer("200 OK", msgspec.json.encode(content))


class Plane:
    """A control plane that answers by path; `asked` are the paths and bodies."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[tuple[str, Any]] = []

    async def script(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            head, _, body = request.partition(b"\r\n\r\n")
            path = head.split(b" ")[1].decode().removeprefix("/internal/v1")
            self.asked.append((path, msgspec.json.decode(body)))
            await peer.send(self.say(*self.asked[-1]))

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@asynccontextmanager
async def client(say: Say) -> AsyncIterator[tuple[ControlClient, Plane]]:
    plane = Plane(say)
    async with ScriptedEngine(*[plane.script] * 8) as server:
        control = ControlClient(server.target().base_url, "s", 5.0)
        yield control, plane
        await control.aclose()


def asks(model: str = "m") -> GrantRequest:
    question = GrantQuestion(model=model, kind="job", prompt_tokens_estimate=1)
    return GrantRequest(credential="c", request=question, node="n")


def ended(number: int) -> Settlement:
    return settlement_of(
        head(job_id(number)),
        complete(1),
        engine="vllm",
        node="n",
        first_token_at=None,
        ended_at=NOW,
    )


async def grants(control: ControlClient, count: int) -> list[Grant | BaseException]:
    asked = (control.grant(asks(str(number))) for number in range(count))
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_one_question_is_asked_by_itself() -> None:
    async with client(lambda *_: answer("200 OK", GRANT)) as (control, plane):
        assert await control.grant(asks()) == grant()
    assert plane.paths == ["/grants"]


async def test_questions_of_one_moment_are_asked_together_and_answered_each() -> None:
    def say(_: str, body: Any) -> bytes:
        told = {"problem": FULL.body(), "headers": FULL.headers()}
        refused = [question["request"]["model"] == "1" for question in body["questions"]]
        return ok({"answers": [told if no else {"grant": grant()} for no in refused]})

    async with client(say) as (control, plane):
        first, second, third = await grants(control, 3)
    assert plane.paths == ["/grants/batch"]
    assert first == third == grant()
    assert isinstance(second, ProblemError)
    assert (second.code, second.detail, second.retry_after) == ("too_many_streams", "enough", 1)
    assert second.fields == {"RateLimit": '"streams";r=0'}


async def test_a_store_that_is_away_is_a_plane_that_is_away() -> None:
    away = ProblemError("control_plane_unavailable", "x").body()
    async with client(lambda *_: ok({"answers": [{"problem": away}] * 2})) as (control, _):
        told = await grants(control, 2)
    assert [type(error) for error in told] == [ControlUnavailable] * 2


async def test_what_is_refused_as_a_whole_is_asked_one_by_one() -> None:
    def say(path: str, body: Any) -> bytes:
        if path == "/grants/batch":
            return NO_ROUTE
        if body["request"]["model"] == "1":
            return answer("429 Too Many Requests", encode_problem(FULL))
        return answer("200 OK", GRANT)

    async with client(say) as (control, plane):
        first, second = await grants(control, 2)
    assert plane.paths == ["/grants/batch", "/grants", "/grants"]
    assert first == grant()
    assert isinstance(second, ProblemError)


@pytest.mark.parametrize("content", [{"answers": []}, {"answers": [{}]}, {}, []])
async def test_an_answer_to_nothing_is_no_answer(content: Any) -> None:
    async with client(lambda *_: ok(content)) as (control, _):
        told = await grants(control, 2)
    assert [type(error) for error in told] == [ControlUnavailable] * 2


async def test_settlements_go_together_and_those_refused_are_named() -> None:
    async with client(lambda *_: ok({"refused": {job_id(1): "x"}})) as (control, plane):
        assert await control.settle([ended(1), ended(2)]) == {job_id(1): "x"}
    assert plane.paths == ["/settlements/batch"]
    assert [one["job_id"] for one in plane.asked[0][1]["settlements"]] == [job_id(1), job_id(2)]


@pytest.mark.parametrize("whole", ["404 Not Found", "400 Bad Request", "413 Too Large"])
async def test_settlements_that_are_refused_as_a_whole_go_one_by_one(whole: str) -> None:
    codes = {"4": "not_found", "0": "invalid_request", "3": "payload_too_large"}
    refusal = encode_problem(ProblemError(codes[whole[2]], "x"))

    def say(path: str, body: Any) -> bytes:
        if path == "/settlements/batch":
            return answer(whole, refusal)
        if body["job_id"] == job_id(1):
            return answer("400 Bad Request", encode_problem(ProblemError("invalid_request", "y")))
        return answer("204 No Content", b"")

    async with client(say) as (control, plane):
        assert list(await control.settle([ended(1), ended(2)])) == [job_id(1)]
    assert plane.paths == ["/settlements/batch", "/settlements", "/settlements"]


@pytest.mark.parametrize("count", [1, 2])
async def test_settlements_that_are_not_taken_now_are_to_be_told_again(count: int) -> None:
    busy = answer("503 Busy", encode_problem(ProblemError("overloaded", "x")))
    async with client(lambda *_: busy) as (control, _):
        with pytest.raises(ProblemError, match="overloaded"):
            await control.settle([ended(number) for number in range(count)])


CALL = Invocation(job_id="j", id="c", arguments="{}", grant_id="g")


async def test_a_tool_is_called_and_answers() -> None:
    async with client(lambda _path, _body: ok({"ok": True, "content": "noon"})) as (control, plane):
        assert await control.invoke("time", CALL, 5.0) == ToolAnswer(True, "noon")
        whole = {"job_id": "j", "id": "c", "arguments": "{}", "grant_id": "g"}
        assert plane.asked == [("/tools/time/invoke", whole)]


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        (NO_ROUTE, ProblemError),
        (answer("500 Oops", b"x"), ControlUnavailable),
        (ok({"ok": "yes"}), ControlUnavailable),
        (b"", ControlUnavailable),
    ],
)
async def test_a_tool_that_is_not_answered_for(said: bytes, raised: type[Exception]) -> None:
    async with client(lambda _path, _body: said) as (control, _):
        with pytest.raises(raised):
            await control.invoke("time", CALL, 0.2)
