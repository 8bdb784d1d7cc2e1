"""Conversations with tools through the whole cluster: curl, OpenAI's SDK and the page."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.wire import Block, Reader, numbered
from tests.page.chat import Chat, open_chat
from tests.support.cluster import ROOT, Cluster
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet
from tests.support.synthetic_engine import MODEL, SyntheticEngine

pytestmark = pytest.mark.cluster

RICE = json.dumps([sys.executable, str(ROOT / "examples" / "rice_server.py")])
POLICY = f"""\
version: 1
models:
  {MODEL}: {{engines: [{{engine: vllm}}], tools: [time, calculator, rice]}}
  mute: {{engines: [{{engine: vllm, model: {MODEL}}}], tools: [time], capabilities: []}}
tools:
  time: {{kind: time}}
  calculator: {{kind: calculator}}
  rice: {{kind: mcp, command: {RICE}}}
"""


@pytest.fixture(scope="module")
def tooled() -> Iterator[Cluster]:
    """A cluster whose engine calls tools as the question says."""
    with tempfile.TemporaryDirectory(prefix="okome-tools-") as directory:
        cluster = Cluster(Path(directory), f"127.95.{own_octet()}.")
        with SyntheticEngine(500.0) as engine:
            try:
                policy = Path(directory) / "policy.yml"
                policy.write_text(POLICY, encoding="utf-8")
                cluster.up(
                    *("--engine", engine.url, "--kind", "vllm", "--model", MODEL),
                    *("--policy", str(policy)),
                )
                yield cluster
            finally:
                cluster.down()


@pytest.fixture
async def http(tooled: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {tooled.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        yield client


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_call": {"id": call_id, "name": name, "arguments": json.dumps(arguments)}}


def question(*rounds: list[dict[str, Any]]) -> str:
    return json.dumps({"rounds": rounds})


SUMS = question(
    [
        {"text": "One moment. "},
        call("a", "calculator", expression="6*7"),
        call("b", "calculator", expression="1/0"),
        call("c", "tiem"),
        {"finish": "tool_calls"},
    ],
    [call("a", "time", zone="Asia/Tokyo"), {"finish": "tool_calls"}],
    [{"echo": "results"}, {"finish": "stop"}],
)
TOOLS = ["calculator", "time"]


def job(**members: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": SUMS, "tools": TOOLS} | members


async def test_the_tools_are_listed(tooled: Cluster, http: httpx.AsyncClient) -> None:
    async def listed() -> list[Any]:
        told = (await http.get(f"{tooled.url}/v1/tools")).json()["data"]
        # The MCP server is listed when it has come up.
        return told if len(told) == 4 else []

    told = await eventually_async(listed, within=30)
    assert [tool["name"] for tool in told] == ["time", "calculator", "rice_kinds", "rice_water"]
    assert told[0]["models"] == [MODEL, "mute"]
    assert all(tool["models"] == [MODEL] for tool in told[1:])
    assert told[1]["parameters"]["required"] == ["expression"]


async def test_curl_sees_calls_results_and_the_answer(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    made = (await http.post(f"{tooled.url}/v1/jobs", json=job())).json()
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--no-buffer", "--silent", "--max-time", "30"),
        *("-H", f"Authorization: Bearer {tooled.api_key}"),
        tooled.url + made["stream_url"],
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await curl.communicate()
    reader = Reader(http, tooled.url, made["job_id"])
    seen = await reader.read()
    assert [line for line in said.decode().splitlines() if line.startswith("data: ")] == [
        f"data: {block.data}" for block in seen
    ]
    assert numbered(seen)
    checked(seen)
    record = (await http.get(f"{tooled.url}/v1/jobs/{made['job_id']}")).json()
    assert record["text"].startswith("One moment. 42 and Error: Division by zero.")


def checked(seen: list[Block]) -> None:
    """What came of the question, whoever asked it."""
    names = [block.event for block in seen]
    assert names[:4] == ["token", "tool_call", "tool_call", "tool_call"]
    assert sorted(names[4:7]) == ["tool_result"] * 3
    assert names[7:] == ["tool_call", "tool_result", "token", "job_complete"]
    results = {b.body["id"]: b.body for b in seen if b.event == "tool_result"}
    calls = [b.body["id"] for b in seen if b.event == "tool_call"]
    assert len(set(calls)) == 4
    assert set(results) == set(calls)
    assert [results[i]["ok"] for i in calls] == [True, False, False, True]
    assert results["a"]["content"] == "42"
    assert "(Asia/Tokyo)" in results[calls[3]]["content"]
    usage = seen[-1].body["usage"]
    assert usage["completion_tokens"] == 2
    assert "estimated" not in usage


async def test_a_reader_that_comes_late_sees_the_same(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    made = (await http.post(f"{tooled.url}/v1/jobs", json=job())).json()
    whole = await Reader(http, tooled.url, made["job_id"]).read()
    for cursor in (2, 5, 8):
        stream = f"{tooled.url}{made['stream_url']}&cursor={cursor}"
        text = (await http.get(stream)).text
        assert [line for line in text.splitlines() if line.startswith("data: ")] == [
            f"data: {block.data}" for block in whole[cursor:]
        ]


async def test_the_openai_sdk_sees_the_answer_only(tooled: Cluster) -> None:
    client = openai.AsyncOpenAI(base_url=f"{tooled.url}/v1", api_key=tooled.api_key, max_retries=0)
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": SUMS}],
        "extra_body": {"tools": TOOLS},
    }
    async with client:
        whole = await client.chat.completions.create(**asked)
        text, calls, reason = "", [], None
        async for chunk in await client.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                calls += choice.delta.tool_calls or []
                reason = choice.finish_reason or reason
    answer = whole.choices[0]
    assert answer.message.content is not None
    assert answer.message.content.startswith("One moment. 42 and Error: Division by zero.")
    assert (answer.message.tool_calls, answer.finish_reason) == (None, "stop")
    assert text.startswith("One moment. 42 and")
    assert (calls, reason) == ([], "stop")


async def test_the_openai_sdks_own_tools_are_handed_back(tooled: Cluster) -> None:
    client = openai.AsyncOpenAI(base_url=f"{tooled.url}/v1", api_key=tooled.api_key, max_retries=0)
    both = [call("a", "calculator", expression="1"), call("m", "mine"), {"finish": "tool_calls"}]
    mine = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    async with client:
        whole = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": question(both)}],
            extra_body={"tools": ["calculator", mine]},
        )
    answer = whole.choices[0]
    assert answer.finish_reason == "tool_calls"
    assert [one.id for one in answer.message.tool_calls or []] == ["m"]


@pytest.mark.parametrize("tools", [["weather"], ["calculator", "weather"], [""], ["x" * 65], [1]])
async def test_tools_that_there_are_none_of_are_refused(
    tooled: Cluster, http: httpx.AsyncClient, tools: list[Any]
) -> None:
    answer = await http.post(f"{tooled.url}/v1/jobs", json=job(tools=tools))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["field"].startswith("tools")


async def test_a_model_that_cannot_call_tools_is_said_so(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    asked = job(model="mute", tools=["time"])
    answer = await http.post(f"{tooled.url}/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["field"]) == (400, "tools")
    assert "cannot call tools" in answer.json()["detail"]


async def test_an_mcp_server_is_called_by_its_name(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    asks = [call("a", "rice_water", grams=250, kind="white"), {"finish": "tool_calls"}]
    prompt = question(asks, [{"echo": "results"}, {"finish": "stop"}])

    async def answered() -> str | None:
        asked = job(prompt=prompt, tools=["rice"])
        answer = await http.post(f"{tooled.url}/v1/jobs", json=asked)
        # Until it has come up once, nothing of it is offered.
        return answer.json()["job_id"] if answer.status_code == 202 else None

    job_id = await eventually_async(answered, within=30)
    assert job_id is not None
    seen = await Reader(http, tooled.url, job_id).read()
    (result,) = [block.body for block in seen if block.event == "tool_result"]
    assert (result["ok"], result["content"]) == (True, "400 ml of water, 18 minutes")


async def test_after_a_brokers_death_the_conversation_goes_on_behind_its_results(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    first = [call("a", "calculator", expression="6*7"), {"finish": "tool_calls"}]
    prompt = question(first, [{"hold": True}])
    made = (await http.post(f"{tooled.url}/v1/jobs", json=job(prompt=prompt))).json()
    reader = Reader(http, tooled.url, made["job_id"])
    await reader.read(until=2)
    home = f"okome-node-{made['job_id'][1:3]}"
    os.kill(tooled.node(home)["pid"], signal.SIGKILL)
    seen = await reader.read(until=3)
    assert [block.event for block in seen] == ["tool_call", "tool_result", "notice"]
    assert seen[2].body["code"] == "relay_moved"
    await http.post(f"{tooled.url}/v1/jobs/{made['job_id']}/cancel")
    seen = await reader.read()
    assert (seen[-1].event, seen[-1].body["reason"]) == ("job_cancelled", "client")
    assert numbered(seen)
    await eventually_async(lambda: tooled.node(home)["healthy"], within=20)


async def test_a_chat_message_may_name_tools(tooled: Cluster, http: httpx.AsyncClient) -> None:
    body = {"message": SUMS, "tools": TOOLS}
    text = (await http.post(f"{tooled.url}/chat", json=body)).text
    assert text.count("event: tool_result") == 4
    assert '"token":"[DONE]"' in text


@pytest_asyncio.fixture(loop_scope="session")
async def chat(browser: Browser, tooled: Cluster) -> AsyncIterator[Chat]:
    chat = await open_chat(browser, tooled.enter_url, Chat)
    yield chat
    await chat.page.context.close()
    assert chat.complaints == []


@pytest.mark.asyncio(loop_scope="session")
async def test_a_person_sees_calls_and_results(chat: Chat) -> None:
    await chat.page.locator("#tools summary").click()
    for name in TOOLS:
        await chat.page.get_by_role("checkbox", name=name).check()
    await chat.ask(SUMS)
    await chat.finished()
    lines = chat.answer.locator(".tool summary")
    told = ["calculator done", "calculator failed", "tiem failed", "time done"]
    await expect(lines).to_have_text(told)
    await lines.first.click()
    await expect(chat.answer.locator(".tool").first.locator("pre").last).to_have_text("42")
    await expect(chat.prose).to_contain_text("One moment. 42 and Error: Division by zero.")
    await chat.page.reload()
    await expect(lines).to_have_text(told)
    await expect(chat.page.locator("#tools summary")).to_have_text("Tools (2)")


async def test_without_the_control_plane_tools_are_refused_and_all_else_goes_on(
    tooled: Cluster, http: httpx.AsyncClient
) -> None:
    tooled.stop("okome-control")
    try:
        answer = await http.post(f"{tooled.url}/v1/jobs", json=job())
        assert (answer.status_code, answer.json()["code"]) == (503, "control_plane_unavailable")
        made = (await http.post(f"{tooled.url}/v1/jobs", json=job(tools=None))).json()
        seen = await Reader(http, tooled.url, made["job_id"]).read()
        assert seen[-1].body["finish_reason"] == "tool_calls"
    finally:
        tooled.start("okome-control")
