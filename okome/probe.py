"""Asks a process whether it is ready, in the way its protocol has for that."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx

TIMEOUT = 1.0


class Prober:
    """Readiness questions over HTTP and Redis. Close it when done."""

    def __init__(self) -> None:
        # Never through a proxy of the environment: these are addresses of our own.
        self._http = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT)

    async def ask(self, url: str) -> str | None:
        """None when the process at `url` (http, https or redis) is ready, else why not."""
        if url.startswith("redis://"):
            return await _ask_redis(url)
        try:
            answer = await self._http.get(url, headers={"Connection": "close"})
        except httpx.TimeoutException:
            return f"{url} did not answer within {TIMEOUT:g} s"
        except httpx.TransportError:
            return f"{url} refuses connections"
        if answer.status_code == 200:
            return None
        return f"{url} answers {answer.status_code} {_reason(answer)}".rstrip()

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()


def _reason(answer: httpx.Response) -> str:
    """What a not-ready answer says, on one line."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    if isinstance(body, dict):
        for name in ("detail", "reason", "code"):
            if isinstance(body.get(name), str):
                return str(body[name])
    return " ".join(str(body).split())[:200]


async def _ask_redis(url: str) -> str | None:
    address = urlsplit(url)
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(b"PING\r\n")
                answer = (await reader.readline()).decode("utf-8", "replace").strip()
            finally:
                writer.close()
    except TimeoutError:
        return f"{url} did not answer within {TIMEOUT:g} s"
    except OSError:
        return f"{url} refuses connections"
    # While it loads its append-only file it answers -LOADING.
    return None if answer == "+PONG" else f"{url} answers {answer}"
