"""Calls of engines beside the jobs: bounded in time and size, whatever answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

ANSWER_MAX: Final = 1 << 20


async def ask(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    timeout_s: float,
    body: dict[str, Any] | None = None,
    *,
    most: int = ANSWER_MAX,
) -> tuple[int, bytes]:
    """Status and at most `most` bytes of the answer; status 0 where there was none, or not
    all of what was awaited within `timeout_s` seconds."""
    read = bytearray()
    # llama.cpp closes after a stream although it promises to keep the connection.
    headers = {} if body is None else {"Connection": "close"}
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream(method, url, json=body, headers=headers, timeout=timeout_s) as answer,
        ):
            async for piece in answer.aiter_bytes():
                read += piece
                if len(read) >= most:
                    break
            return answer.status_code, bytes(read[:most])
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError):
        return 0, b""
