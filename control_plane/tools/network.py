"""HTTP for tools: to addresses that are allowed, with bodies that are bounded.

A host is resolved once for each connection and connected to at that address, so that what
was checked is what is reached. Redirects are never followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import httpx2

from control_plane.tools.address import chosen
from control_plane.tools.base import ToolError

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Carries the requests of one tool. `body_max`: bytes of an answer.

    Raises ToolError where an address is refused, an answer too large, or packed: what is
    small on the wire could be anything.
    """

    def __init__(
        self,
        allow: Iterable[str],
        body_max: int,
        resolved: Resolve = resolve,
        connections: int = 16,
    ) -> None:
        self._allow = tuple(allow)
        self._body_max = body_max
        self._resolve = resolved
        self._plain = httpx2.AsyncHTTPTransport(
            trust_env=False, limits=httpx2.Limits(max_connections=connections)
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request to the address that was checked."""
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            address = chosen(host, await self._resolve(host, port), self._allow)
        except (OSError, UnicodeError) as error:
            raise ToolError("unreachable", "The tool's host is not known.") from error
        if address is None:
            raise ToolError("refused", "The tool's address is inside the network, not allowed.")
        request.extensions = {**request.extensions, "sni_hostname": host}
        # The Host header was made of the name and stays.
        request.url = request.url.copy_with(host=address)
        response = await self._plain.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise ToolError("failed", "The tool packed its answer, which was not asked for.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101
        response.stream = _Bounded(response.stream, self._body_max)
        return response

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._plain.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with ToolError when it is longer than `most`."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._left = most
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise too_large(self._most)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def too_large(most: int) -> ToolError:
    """An answer of more bytes than the policy allows."""
    return ToolError("too_large", f"The tool answered with more than {most} bytes.")


def client_for(transport: GuardedTransport, timeout_s: float) -> httpx2.AsyncClient:
    """A client that asks nothing of the environment and for nothing packed."""
    return httpx2.AsyncClient(
        transport=transport,
        follow_redirects=False,
        trust_env=False,
        timeout=timeout_s,
        headers={"Accept-Encoding": "identity", "User-Agent": "okome"},
    )
