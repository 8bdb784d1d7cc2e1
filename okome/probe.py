"""Asks a process whether it is ready, in the way its protocol has for that."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import httpx

TIMEOUT = 1.0


class Prober:
    """Readiness questions over HTTP and Redis. Close it when done.

    `tls`: what is shown to, and believed of, those who are asked by https.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        # Never through a proxy of the environment: these are addresses of our own.
        self._http = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, verify=tls or True)

    async def ask(self, url: str) -> str | None:
        """None when the process at `url` is ready, else why not.

        Schemes: http, https, redis, and redis+cluster for a member of a Redis Cluster, which
        is ready once the cluster is and, as a replica, it follows its primary.
        """
        if url.startswith(("redis://", "redis+cluster://")):
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
                # While it loads its append-only file it answers -LOADING.
                if answer != "+PONG":
                    return f"{url} answers {answer}"
                if address.scheme == "redis+cluster":
                    return await _ask_member(url, reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        return f"{url} did not answer within {TIMEOUT:g} s"
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return f"{url} refuses connections"
    return None


async def _ask_member(
    url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    writer.write(b"CLUSTER INFO\r\nINFO replication\r\n")
    state, replication = await _bulk(reader), await _bulk(reader)
    if "cluster_state:ok" not in state:
        return f"{url} says that the cluster is down"
    if "master_link_status:down" in replication:
        return f"{url} is not in sync with its primary"
    return None


async def _bulk(reader: asyncio.StreamReader) -> str:
    """One bulk reply; ValueError for anything else."""
    length = int((await reader.readline()).removeprefix(b"$"))
    return (await reader.readexactly(length + 2)).decode("utf-8", "replace")
