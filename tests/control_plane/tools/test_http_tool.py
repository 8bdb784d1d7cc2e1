from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.policy_document import HttpTool
from control_plane.tools.base import Call, ToolError, ToolsError
from control_plane.tools.http_tool import HttpCaller
from tests.support.scripted_tool import ScriptedTool

LOOPBACK = ["127.0.0.1"]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


async def ask(tool: HttpTool, arguments: dict[str, Any] | None = None, **more: Any) -> str:
    caller = HttpCaller("weather", tool, **more)
    try:
        (function,) = caller.functions
        return await caller.invoke(
            function.name, Call(key="j/1", arguments={"city": "x"} | (arguments or {}))
        )
    finally:
        await caller.aclose()


def tool(server: ScriptedTool, path: str, **changes: Any) -> HttpTool:
    members: dict[str, Any] = {
        "url": f"{server.url}/{path}",
        "parameters": CITY,
        "allow": LOOPBACK,
        "timeout_s": 5.0,
    }
    return HttpTool(**members | changes)


async def test_arguments_are_the_body(server: ScriptedTool) -> None:
    headers = {"Authorization": "Bearer secret"}
    told = await ask(tool(server, "echo", headers=headers), {"city": "Köln", "days": 2})
    assert json.loads(json.loads(told)["body"]) == {"city": "Köln", "days": 2}
    (asked,) = server.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert asked.headers["authorization"] == "Bearer secret"
    # Who repeats a call is to be known for it.
    assert asked.headers["idempotency-key"] == '"j/1"'
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


async def test_arguments_of_a_get_are_its_query(server: ScriptedTool) -> None:
    told = await ask(tool(server, "echo?units=c", method="GET"), {"city": "a&b=c", "days": 2})
    assert json.loads(told)["query"] == {"city": "a&b=c", "days": "2", "units": "c"}


@pytest.mark.parametrize(
    ("path", "outcome", "told"),
    [
        ("never", "timeout", "in time"),
        ("much", "too_large", "more than 4096 bytes"),
        ("announced", "too_large", "more than 4096 bytes"),
        ("packed", "failed", "packed"),
        ("not-json", "failed", "not the JSON"),
        ("not-utf8", "failed", "not UTF-8"),
        ("picture", "failed", "image/png"),
        ("broken", "failed", "status 500: it broke"),
        ("elsewhere", "failed", "not followed"),
        ("not-http", "unreachable", "cannot be reached"),
        ("cut", "unreachable", "cannot be reached"),
    ],
)
async def test_a_tool_that_misbehaves_has_an_outcome_of_its_own(
    server: ScriptedTool, path: str, outcome: str, told: str
) -> None:
    limits: dict[str, Any] = {"answer_max": 4096, "timeout_s": 0.3 if path == "never" else 5.0}
    with pytest.raises(ToolError, match=told) as raised:
        await ask(tool(server, path, **limits))
    assert raised.value.outcome == outcome
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("path", "told"), [("html", "<script>alert(1)</script>"), ("empty", ""), ("x", '{"ok": true}')]
)
async def test_what_a_tool_says_is_passed_on_as_it_is(
    server: ScriptedTool, path: str, told: str
) -> None:
    assert await ask(tool(server, path)) == told


async def test_arguments_that_do_not_fit_are_never_sent(server: ScriptedTool) -> None:
    with pytest.raises(ToolError, match="city") as raised:
        await ask(tool(server, "echo"), {"city": 1})
    assert raised.value.outcome == "invalid"
    assert server.asked == []


async def test_an_address_inside_is_refused_unless_it_is_listed(server: ScriptedTool) -> None:
    with pytest.raises(ToolError, match="not allowed") as raised:
        await ask(tool(server, "echo", allow=[]))
    assert raised.value.outcome == "refused"
    assert server.asked == []


async def test_nobody_at_the_address_is_unreachable() -> None:
    closed = HttpTool(url="http://127.0.0.1:1/", allow=LOOPBACK)
    with pytest.raises(ToolError, match="cannot be reached") as raised:
        await ask(closed)
    assert raised.value.outcome == "unreachable"


async def test_a_host_that_is_not_known_is_unreachable() -> None:
    async def nowhere(_host: str, _port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(ToolError, match="not known"):
        await ask(HttpTool(url="http://tool.test/"), resolved=nowhere)


async def test_a_name_is_resolved_once_and_reached_where_it_was_checked(
    server: ScriptedTool,
) -> None:
    """A name that leads somewhere else at the second question gains nothing by it."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def turning(host: str, port: int) -> list[str]:
        assert (host, port) == ("tool.test", server.port)
        return answers.pop(0)

    url = f"http://tool.test:{server.port}/echo"
    await ask(tool(server, "", url=url), resolved=turning)
    assert len(answers) == 1
    assert server.asked[0].headers["host"] == f"tool.test:{server.port}"


async def test_a_name_that_turns_inside_is_refused_by_then(server: ScriptedTool) -> None:
    async def inside(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    url = f"http://tool.test:{server.port}/echo"
    with pytest.raises(ToolError, match="not allowed"):
        await ask(tool(server, "", url=url, allow=[]), resolved=inside)
    assert server.asked == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": None}, "URL"),
        ({"url": "ftp://x/"}, "URL"),
        ({"url": "/path"}, "URL"),
        ({"url": "http://user:pw@x/"}, "URL"),
        ({"url": "http://[::1/"}, "URL"),
        ({"url": "http://x/", "parameters": {"$ref": "#"}}, "recurses"),
        ({"url": "http://x/", "parameters": {"type": "string"}}, "object"),
        ({"url": "http://x/", "allow": ["a b"]}, "allow"),
        ({"openapi": "x.yml"}, "operation"),
        ({"openapi": "none.yml", "operation": "x"}, "cannot be read"),
    ],
)
def test_a_tool_that_cannot_be_is_refused_with_its_name(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ToolsError, match=f"weather.*{why}"):
        HttpCaller("weather", HttpTool(**changes), tmp_path)


OPENAPI = """
openapi: 3.1.0
servers: [{url: "http://127.0.0.1:PORT/v1"}]
paths:
  /echo/{place}/days/{day}:
    parameters:
      - {$ref: "#/components/parameters/place"}
    post:
      operationId: forecast
      summary: What the weather will be
      parameters:
        - {name: day, in: path, schema: {type: integer}}
        - {name: units, in: query, required: true, schema: {enum: [c, f]}}
        - {name: X-Trace, in: header, schema: {type: string}}
        - {name: Host, in: header, schema: {type: string}}
      requestBody:
        content:
          application/json: {schema: {$ref: "#/components/schemas/Wish"}}
    get:
      operationId: cookie
      parameters: [{name: c, in: cookie, schema: {}}]
  /form:
    put:
      operationId: form
      requestBody: {content: {text/plain: {}}}
  /twice:
    put:
      operationId: twice
      parameters: [{name: a, in: query, schema: {}}]
      requestBody: {content: {application/json: {schema: {properties: {a: {}}}}}}
  /tree:
    post:
      operationId: tree
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Tree"}}}}
components:
  parameters:
    place: {name: place, in: path, required: true, schema: {$ref: "#/components/schemas/Place"}}
  schemas:
    Place: {type: string}
    Wish: {type: object, properties: {wind: {type: boolean}}, required: [wind]}
    Tree: {type: object, properties: {left: {$ref: "#/components/schemas/Tree"}}}
"""


def described(directory: Path, port: int) -> Path:
    (directory / "weather.yml").write_text(OPENAPI.replace("PORT", str(port)), encoding="utf-8")
    return directory


async def test_an_operation_of_openapi_is_a_tool(tmp_path: Path, server: ScriptedTool) -> None:
    forecast = HttpTool(openapi="weather.yml", operation="forecast", allow=LOOPBACK)
    caller = HttpCaller("weather", forecast, described(tmp_path, server.port))
    (function,) = caller.functions
    assert function.description == "What the weather will be"
    assert set(function.parameters["properties"]) == {
        "place", "day", "units", "X-Trace", "Host", "wind",
    }  # fmt: skip
    assert function.parameters["required"] == ["place", "day", "units", "wind"]
    arguments = {
        "place": "../a b/{day}",
        "day": 2,
        "units": "c",
        "X-Trace": "t",
        "Host": "evil.test",
        "wind": True,
    }
    await caller.invoke("weather", Call(key="k", arguments=arguments))
    await caller.aclose()
    (asked,) = server.asked
    assert asked.target == "/v1/echo/..%2Fa%20b%2F%7Bday%7D/days/2?units=c"
    assert json.loads(asked.body) == {"wind": True}
    assert asked.headers["x-trace"] == "t"
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("arguments", [{"place": ".."}, {"place": ""}, {"X-Trace": "a\r\nb: c"}])
async def test_what_leads_out_of_its_place_is_never_sent(
    tmp_path: Path, server: ScriptedTool, arguments: dict[str, str]
) -> None:
    forecast = HttpTool(openapi="weather.yml", operation="forecast", allow=LOOPBACK)
    caller = HttpCaller("weather", forecast, described(tmp_path, server.port))
    whole = {"place": "x", "day": 1, "units": "c", "wind": True} | arguments
    with pytest.raises(ToolError, match="cannot stand"):
        await caller.invoke("weather", Call(key="k", arguments=whole))
    await caller.aclose()
    assert server.asked == []


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ("none", "no operation"),
        ("cookie", "not understood"),
        ("form", "application/json"),
        ("twice", "member of the body"),
        ("tree", "recurses"),
    ],
)
def test_an_operation_that_cannot_be_called_is_refused(
    tmp_path: Path, operation: str, why: str
) -> None:
    described(tmp_path, 1)
    with pytest.raises(ToolsError, match=why):
        HttpCaller("weather", HttpTool(openapi="weather.yml", operation=operation), tmp_path)
