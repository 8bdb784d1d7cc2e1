"""The broker's side of the internal API: the only calls to the control plane there are."""

from __future__ import annotations

import time
from typing import TypeVar

import msgspec

from contracts.codes import HTTP_CODES
from contracts.grants import Grant, GrantRequest, Settlement
from contracts.policy import PolicySnapshot
from contracts.problems import ProblemError
from stream_broker.calls import CallFailed, HttpCalls, Reply
from stream_broker.sharing import Sharing

T = TypeVar("T")

_LIMIT_FIELDS = ("RateLimit-Policy", "RateLimit")


class ControlUnavailable(Exception):
    """The control plane does not answer, or not with an answer."""


class ControlClient:
    """Speaks to one control plane with the service credential. Every call ends in `timeout`."""

    def __init__(self, base_url: str, service_key: str, timeout: float) -> None:
        headers = {
            "Authorization": f"Bearer {service_key}",
            "Content-Type": "application/json",
        }
        self._calls = HttpCalls(base_url, headers, timeout, time.monotonic)
        self._sharing = Sharing()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._calls.aclose()

    async def grant(self, request: GrantRequest) -> Grant:
        """Leave to run a job. Raises ProblemError (a refusal) or ControlUnavailable."""
        response = await self._send("POST", "/internal/v1/grants", msgspec.json.encode(request))
        return self._sharing.of(_decoded(response, Grant))

    async def renew(self, lease_ids: list[str]) -> list[str]:
        """Renews leases; returns those that the control plane does not know."""
        body = msgspec.json.encode({"ids": lease_ids})
        response = await self._send("POST", "/internal/v1/leases/renew", body)
        return _decoded(response, dict[str, list[str]]).get("unknown", [])

    async def acquire(self, leases: dict[str, str], node: str) -> list[str]:
        """Takes slots for running jobs again, lease id -> user id; returns those without one."""
        body = msgspec.json.encode({"leases": leases, "node": node})
        response = await self._send("POST", "/internal/v1/leases/acquire", body)
        return _decoded(response, dict[str, list[str]]).get("refused", [])

    async def settle(self, settlement: Settlement) -> None:
        """Reports a job's end. Idempotent by `job_id`."""
        await self._send("POST", "/internal/v1/settlements", msgspec.json.encode(settlement))

    async def policy(self, etag: str | None) -> tuple[PolicySnapshot, str] | None:
        """The policy snapshot and its ETag; None when it is still the one of `etag`."""
        headers = {"If-None-Match": etag} if etag else {}
        response = await self._send("GET", "/internal/v1/policy", b"", headers)
        if response.status == 304:
            return None
        return _decoded(response, PolicySnapshot), response.headers.get("etag", "")

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Reply:
        try:
            response = await self._calls.send(method, path, body, headers)
        except CallFailed as error:
            raise ControlUnavailable(str(error)) from error
        if response.status >= 400:
            raise _refusal(response)
        return response


def _decoded(response: Reply, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=shape)
    except msgspec.MsgspecError as error:
        raise ControlUnavailable("an answer that cannot be read") from error


def _refusal(response: Reply) -> Exception:
    """A refusal with a known code, as the client is to see it; else the plane is unwell."""
    try:
        body = msgspec.json.decode(response.body, type=dict[str, object])
    except msgspec.MsgspecError:
        return ControlUnavailable(f"status {response.status}")
    code = str(body.get("code"))
    if code not in HTTP_CODES or code in ("internal", "control_plane_unavailable"):
        return ControlUnavailable(f"status {response.status}")
    retry = response.headers.get("retry-after", "")
    return ProblemError(
        code,
        str(body.get("detail", "")),
        field=str(body["field"]) if "field" in body else None,
        retry_after=int(retry) if retry.isdigit() else None,
        fields={name: response.headers[name] for name in _LIMIT_FIELDS if name in response.headers},
    )
