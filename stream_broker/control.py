"""The broker's side of the internal API: the only calls to the control plane there are."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from contracts.codes import HTTP_CODES
from contracts.grants import (
    BATCH_MAX,
    EngineReport,
    EngineReports,
    Grant,
    GrantAnswer,
    GrantAnswers,
    GrantRequest,
    GrantRequests,
    Refused,
    Settlement,
    Settlements,
    TurnAnswer,
)
from contracts.policy import PolicySnapshot
from contracts.problems import ProblemError
from contracts.tools import Invocation, ToolAnswer
from stream_broker.batching import Batches
from stream_broker.calls import CallFailed, HttpCalls, Reply
from stream_broker.sharing import Sharing

T = TypeVar("T")

# Calls of tools that a broker waits for at once, and how long it does at most (seconds).
TOOL_CALLS_MAX = 256
TOOL_TIMEOUT_S = 86_400.0
# Of no concern to the client whose request it was.
_NO_ANSWER = frozenset({"internal", "control_plane_unavailable", "role_missing"})
# What a repetition does not make better.
_FOR_GOOD = (400, 413, 422)
_LIMIT_FIELDS = ("RateLimit-Policy", "RateLimit")


class ControlUnavailable(Exception):
    """The control plane does not answer, or not with an answer."""


class ControlClient:
    """Speaks to one control plane with the service credential. Every call ends in `timeout`.

    `tls`: see HttpCalls.
    """

    def __init__(
        self,
        base_url: str,
        service_key: str,
        timeout: float,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        headers = {
            "Authorization": f"Bearer {service_key}",
            "Content-Type": "application/json",
        }
        self._calls = HttpCalls(base_url, headers, timeout, time.monotonic, tls)
        # On connections of their own: slow tools must not keep grants waiting.
        self._tools = HttpCalls(
            base_url, headers, TOOL_TIMEOUT_S, time.monotonic, tls, connections=TOOL_CALLS_MAX
        )
        self._sharing = Sharing()
        self._grants = Batches(self._grant_each, BATCH_MAX)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._grants.aclose()
        await self._calls.aclose()
        await self._tools.aclose()

    async def grant(self, request: GrantRequest) -> Grant:
        """Leave to run a job. Raises ProblemError (a refusal) or ControlUnavailable."""
        return self._sharing.of(await self._grants.ask(request))

    async def turn(self, grant_id: str) -> TurnAnswer:
        """Whether a job that was told to wait may start. Raises ProblemError for one that
        waits no more, or ControlUnavailable."""
        response = await self._send("POST", f"/internal/v1/grants/{grant_id}/turn", b"{}")
        return _decoded(response, TurnAnswer)

    async def report(self, reports: Sequence[EngineReport]) -> None:
        """Tells of at most BATCH_MAX attempts at engines that failed. Raises ProblemError or
        ControlUnavailable."""
        body = msgspec.json.encode(EngineReports(reports=list(reports)))
        await self._send("POST", "/internal/v1/engines/reports", body)

    async def invoke(self, name: str, call: Invocation, timeout: float) -> ToolAnswer:
        """Calls a tool of the policy; as slow as the tool is, for at most `timeout` seconds.

        Raises ProblemError or ControlUnavailable, after which the same call may be repeated.
        """
        path = f"/internal/v1/tools/{name}/invoke"
        try:
            async with asyncio.timeout(timeout):
                response = await self._tools.send("POST", path, msgspec.json.encode(call))
        except (CallFailed, TimeoutError) as error:
            raise ControlUnavailable(str(error)) from error
        return _decoded(_accepted(response), ToolAnswer)

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

    async def settle(self, settlements: Sequence[Settlement]) -> dict[str, str]:
        """Reports the ends of 1 to BATCH_MAX jobs. Idempotent by `job_id`.

        Returns job id -> reason of those that are refused for good. Raises ControlUnavailable
        or ProblemError, after which all of them are to be told again.
        """
        if len(settlements) == 1:
            return await self._settle_one(settlements[0])
        body = msgspec.json.encode(Settlements(settlements=list(settlements)))
        try:
            response = await self._send("POST", "/internal/v1/settlements/batch", body)
        except ProblemError as error:
            if error.status not in (*_FOR_GOOD, 404):
                raise
            # One that cannot be read, or an older control plane: each by itself.
            refused: dict[str, str] = {}
            for settlement in settlements:
                refused |= await self._settle_one(settlement)
            return refused
        return _decoded(response, Refused).refused

    async def policy(self, etag: str | None) -> tuple[PolicySnapshot, str] | None:
        """The policy snapshot and its ETag; None when it is still the one of `etag`."""
        headers = {"If-None-Match": etag} if etag else {}
        response = await self._send("GET", "/internal/v1/policy", b"", headers)
        if response.status == 304:
            return None
        return _decoded(response, PolicySnapshot), response.headers.get("etag", "")

    async def _grant_each(self, requests: list[GrantRequest]) -> Sequence[Grant | Exception]:
        if len(requests) == 1:
            return [await self._grant_one(requests[0])]
        body = msgspec.json.encode(GrantRequests(questions=requests))
        try:
            response = await self._send("POST", "/internal/v1/grants/batch", body)
        except ProblemError:
            # Refused as a whole, which no question is to answer for: each by itself.
            return await asyncio.gather(*map(self._grant_alone, requests))
        answers = _decoded(response, GrantAnswers).answers
        if len(answers) != len(requests):
            raise ControlUnavailable("an answer to other questions")
        return [_granted(answer) for answer in answers]

    async def _grant_alone(self, request: GrantRequest) -> Grant | Exception:
        try:
            return await self._grant_one(request)
        except (ProblemError, ControlUnavailable) as error:
            return error

    async def _grant_one(self, request: GrantRequest) -> Grant:
        response = await self._send("POST", "/internal/v1/grants", msgspec.json.encode(request))
        return _decoded(response, Grant)

    async def _settle_one(self, settlement: Settlement) -> dict[str, str]:
        body = msgspec.json.encode(settlement)
        try:
            await self._send("POST", "/internal/v1/settlements", body)
        except ProblemError as error:
            if error.status not in _FOR_GOOD:
                raise
            return {settlement.job_id: str(error)}
        return {}

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Reply:
        try:
            response = await self._calls.send(method, path, body, headers)
        except CallFailed as error:
            raise ControlUnavailable(str(error)) from error
        return _accepted(response)


def _accepted(response: Reply) -> Reply:
    if response.status >= 400:
        raise _refusal(response)
    return response


def _decoded(response: Reply, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=shape)
    except msgspec.MsgspecError as error:
        raise ControlUnavailable("an answer that cannot be read") from error


def _refusal(response: Reply) -> Exception:
    try:
        body = msgspec.json.decode(response.body, type=dict[str, object])
    except msgspec.MsgspecError:
        return ControlUnavailable(f"status {response.status}")
    return _problem(body, response.headers)


def _granted(answer: GrantAnswer) -> Grant | Exception:
    if answer.grant is not None:
        return answer.grant
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return _problem(answer.problem or {}, headers)


def _problem(body: Mapping[str, object], headers: Mapping[str, str]) -> Exception:
    """A refusal with a known code, as the client is to see it; else the plane is unwell, or
    this broker is no broker to it."""
    code = str(body.get("code"))
    if code not in HTTP_CODES or code in _NO_ANSWER:
        return ControlUnavailable(f"refused with {code}")
    retry = headers.get("retry-after", "")
    return ProblemError(
        code,
        str(body.get("detail", "")),
        field=str(body["field"]) if "field" in body else None,
        retry_after=int(retry) if retry.isdigit() else None,
        fields={name: headers[name.lower()] for name in _LIMIT_FIELDS if name.lower() in headers},
    )
