"""The internal API over HTTP: who may ask, and what is read at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control_plane.conftest import Start
from tests.control_plane.harness import API_KEY, Harness, code_of

INTERNAL = [
    ("POST", "/grants"),
    ("POST", "/grants/batch"),
    ("POST", "/leases/renew"),
    ("POST", "/leases/acquire"),
    ("POST", "/leases/x/renew"),
    ("POST", "/settlements"),
    ("POST", "/settlements/batch"),
    ("POST", "/tools/x/invoke"),
    ("GET", "/policy"),
]


@pytest.mark.parametrize(("method", "path"), INTERNAL)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Bearer {API_KEY}", "Basic é"]
)
async def test_without_the_service_credential_nothing_is_told(
    control: Harness, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = await control.client.request(method, f"/internal/v1{path}", headers=headers)
    assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_tool_is_registered(control: Harness) -> None:
    body = {"job_id": "j", "id": "c", "arguments": "{}"}
    answer = await control.internal("POST", "/tools/clock/invoke", json=body)
    assert (answer.status_code, code_of(answer)) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"credential": "\xff"}', "invalid_json", None),
        (b'{"x":' + b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b"{}", "invalid_request", "credential"),
        (b'{"credential": 1}', "invalid_request", "credential"),
        (b'{"credential": "x", "node": "n", "request": {}}', "invalid_request", "request.model"),
    ],
)
async def test_bad_bodies_are_told_apart(
    control: Harness, body: bytes, code: str, field: str | None
) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await control.internal("POST", "/grants", content=body, headers=headers)
    assert (answer.status_code, code_of(answer)) == (400, code)
    assert answer.json().get("field") == field


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(control: Harness, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await control.internal("POST", "/settlements", content=b"{}", headers=headers)
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")


async def test_a_body_too_large_is_refused_declared_or_not(start: Start) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with start("body_max=2048") as control:
        for content in (b" " * 2049, endless()):
            answer = await control.internal(
                "POST", "/grants", content=content, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
