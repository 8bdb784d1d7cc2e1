"""Performs a case against a target and compares every answer with what the case expects."""

from __future__ import annotations

import json
from typing import Any

import websockets
from websockets.asyncio.client import connect

from tests.conformance.cases import Case, check, filled
from tests.conformance.targets import Target
from tests.proof.requests import Block, blocks_of
from tests.support.eventually import eventually_async
from tests.torture.wire import Answer, ask

_MIMES = {"stream": "*/*", "completion": "text/event-stream", "object": "application/json"}
_ENDED = ("completed", "failed", "cancelled")
_MADE = {"jobs": "/v1/jobs", "completions": "/v1/chat/completions"}


class Performance:
    """One case, once."""

    def __init__(self, case: Case, target: Target) -> None:
        self._case = case
        self._target = target
        self._job_id = ""
        self._first: tuple[Answer, bytes] | None = None

    async def run(self) -> None:
        """Makes the job, waits for its end, and takes every step."""
        await self._make()
        if self._case.ends:
            for url in self._target.urls:
                await eventually_async(lambda at=url: self._over(at))
        for number, step in enumerate(self._case.steps):
            try:
                await self._step(step)
            except AssertionError as error:
                raise AssertionError(f"step {number + 1} {step}: {error}") from error

    def _request(self) -> dict[str, Any]:
        script = json.dumps({"script": self._case.engine})
        body = {"model": self._target.model, "max_tokens": 1000} | self._case.request
        if self._case.api == "jobs":
            return body | {"prompt": script}
        return body | {"stream": True, "messages": [{"role": "user", "content": script}]}

    async def _make(self) -> None:
        url = self._target.urls[0]
        path = _MADE[self._case.api]
        answer = await ask(url, "POST", path, self._target.key, body=self._request())
        body = b"".join([piece async for piece in answer.pieces()])
        answer.end("close")
        assert answer.status in (200, 202), body
        if self._case.api == "jobs":
            self._job_id = json.loads(body)["job_id"]
        else:
            self._job_id = answer.headers["x-okome-job-id"]
            self._first = answer, body

    async def _over(self, url: str) -> bool:
        answer, body = await self._get(url, f"/v1/jobs/{self._job_id}")
        return answer.status == 200 and json.loads(body)["status"] in _ENDED

    async def _step(self, step: dict[str, Any]) -> None:
        match step:
            case {"do": "expire"}:
                self._target.expire(self._job_id)
            case {"do": "cancel"}:
                url, path = self._target.urls[-1], f"/v1/jobs/{self._job_id}/cancel"
                answer = await ask(url, "POST", path, self._target.key, body={})
                answer.end("close")
                assert answer.status == 202
            case {"read": "first"}:
                assert self._first is not None
                self._compare(step, *self._first)
            case {"read": "socket"}:
                for url in self._target.urls:
                    await self._converse(url, step)
            case {"read": _}:
                for url in self._target.urls:
                    self._compare(step, *await self._read(url, step))
            case _:
                raise AssertionError("unknown step")

    async def _read(self, url: str, step: dict[str, Any]) -> tuple[Answer, bytes]:
        job_id = step.get("job", self._job_id)
        headers = {}
        if "last_event_id" in step:
            headers["Last-Event-ID"] = str(step["last_event_id"])
        if step.get("anonymous"):
            headers["Authorization"] = "Bearer nobody"
        if step["read"] == "job":
            return await self._get(url, f"/v1/jobs/{job_id}", headers)
        if step["read"] != "stream":
            headers["Accept"] = _MIMES[step["read"]]
            return await self._get(url, f"/v1/chat/completions/{job_id}", headers)
        asked = {name: step[name] for name in ("cursor", "heartbeat") if name in step}
        query = "".join(f"&{name}={value}" for name, value in asked.items())
        return await self._get(url, f"/v1/stream?job_id={job_id}{query}", headers)

    async def _get(
        self, url: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[Answer, bytes]:
        answer = await ask(url, "GET", path, self._target.key, headers=headers)
        try:
            return answer, b"".join([piece async for piece in answer.pieces()])
        finally:
            answer.end("close")

    def _compare(self, step: dict[str, Any], answer: Answer, body: bytes) -> None:
        assert answer.status == step["status"], f"{answer.status}: {body!r}"
        for name, value in step.get("headers", {}).items():
            check(value, answer.headers.get(name), name)
        if step.get("empty"):
            assert body == b""
        if "code" in step:
            assert answer.headers["content-type"] == "application/problem+json"
            check({"status": step["status"], "code": step["code"], "...": "*"}, json.loads(body))
        if "error" in step:
            check({"error": {"code": step["error"], "...": "*"}}, json.loads(body))
        if "members" in step:
            check(step["members"] | {"...": "*"}, json.loads(body))
        if step.keys() & {"blocks", "ids", "last"}:
            self._compare_blocks(step, body)

    def _compare_blocks(self, step: dict[str, Any], body: bytes) -> None:
        assert body.endswith(b"\n\n"), f"half a block: {body[-80:]!r}"
        blocks = blocks_of(body)
        native = step["read"] == "stream"
        if "ids" in step:
            assert [block.id for block in blocks] == step["ids"]
        if "last" in step:
            self._compare_block(step["last"] | {"id": blocks[-1].id}, blocks[-1], native)
        if "blocks" in step:
            assert len(blocks) == len(step["blocks"]), body
            for expected, block in zip(step["blocks"], blocks, strict=True):
                self._compare_block(expected, block, native)
        if native:
            first = blocks[0].id or 0
            assert [block.id for block in blocks] == list(range(first, first + len(blocks)))
            assert [block.retry for block in blocks] == [1000] + [None] * (len(blocks) - 1)

    def _compare_block(self, expected: dict[str, Any], block: Block, native: bool) -> None:
        assert block.id == expected.get("id")
        assert block.event == expected.get("event")
        assert block.data is not None
        data = expected["data"]
        if data == "[DONE]":
            assert block.data == b"[DONE]"
            return
        if isinstance(data, dict):
            data = data | self._understood(expected, native)
        check(data, json.loads(block.data), f"block {block.id}")

    def _understood(self, expected: dict[str, Any], native: bool) -> dict[str, Any]:
        if native:
            return {"job_id": self._job_id, "seq": expected["id"]}
        if expected.get("alone"):
            return {}
        return {
            "id": f"chatcmpl-{self._job_id}",
            "object": "chat.completion.chunk",
            "created": "<number>",
            "model": self._target.model,
        }

    async def _converse(self, url: str, step: dict[str, Any]) -> None:
        known = {"job": self._job_id, "request": self._request()}
        async with connect(
            url.replace("http://", "ws://") + "/v1/ws",
            additional_headers={"Authorization": f"Bearer {self._target.key}"},
            subprotocols=[websockets.Subprotocol("okome.v1")],
            proxy=None,
        ) as ws:
            assert ws.subprotocol == "okome.v1"
            for message in filled(step["send"], **known):
                await ws.send(message if isinstance(message, str) else json.dumps(message))
            for expected in filled(step["receive"], **known):
                check(expected, json.loads(await ws.recv()), "message")
