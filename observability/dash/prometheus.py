"""Asks a Prometheus, or the other one of the pair where the first is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

TIMEOUT_S = 5.0
ANSWER_MAX = 8 << 20
# Questions at once, of all browsers together.
AT_ONCE = 4


class PrometheusError(Exception):
    """It cannot be asked, or refuses; the message is one line for a person."""


class Prometheus:
    """Read-only questions to the first of `urls` that answers."""

    def __init__(self, http: httpx.AsyncClient, urls: Sequence[str]) -> None:
        self._http = http
        self._urls = tuple(urls)
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def choose(self) -> str:
        """The base URL of one that is ready, the first that can. Raises PrometheusError."""
        reasons = []
        for url in self._urls:
            try:
                await self.ask(url, "/api/v1/query", {"query": "1"})
            except PrometheusError as error:
                reasons.append(str(error))
            else:
                return url
        raise PrometheusError("; ".join(reasons))

    async def ask(self, url: str, path: str, params: Mapping[str, str]) -> Any:
        """The `data` of an answer. Raises PrometheusError."""
        try:
            async with self._turn, asyncio.timeout(TIMEOUT_S):
                answer = await self._http.get(url + path, params=dict(params))
        except (TimeoutError, httpx.TimeoutException):
            raise PrometheusError(f"{url} did not answer within {TIMEOUT_S:g} s") from None
        except httpx.HTTPError as error:
            raise PrometheusError(f"{url} refuses connections") from error
        return _data(url, answer)


def _data(url: str, answer: httpx.Response) -> Any:
    if len(answer.content) > ANSWER_MAX:
        raise PrometheusError(f"{url} answers more than {ANSWER_MAX >> 20} MiB")
    try:
        body = answer.json()
        if body["status"] == "success":
            return body["data"]
        reason = " ".join(str(body.get("error", "")).split())[:200]
    except (ValueError, KeyError, TypeError):
        raise PrometheusError(
            f"{url} answers {answer.status_code}, and not as Prometheus"
        ) from None
    raise PrometheusError(f"{url} refuses: {reason}")
