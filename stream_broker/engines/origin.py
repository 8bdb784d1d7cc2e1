"""Where an engine is, out of its base URL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from stream_broker.engines.call import HttpRequest

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, and the path under which its API stands on it."""

    tls: bool
    host: str
    port: int
    authority: str
    prefix: str

    def encode(self, request: HttpRequest) -> bytes:
        """The bytes of a request to this server (RFC 9112, section 3)."""
        head = [
            f"{request.method} {self.prefix}{request.path} HTTP/1.1",
            f"Host: {self.authority}",
            "User-Agent: okome",
            f"Content-Length: {len(request.body)}",
            *(f"{name}: {value}" for name, value in request.headers),
            "\r\n",
        ]
        return "\r\n".join(head).encode("ascii") + request.body


@lru_cache(maxsize=256)
def origin_of(base_url: str) -> Origin:
    """The origin of `http[s]://host[:port][/path]`. Raises ValueError for anything else."""
    url = urlsplit(base_url)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"not the URL of an engine: {base_url!r}")
    return Origin(
        tls=url.scheme == "https",
        host=url.hostname,
        port=url.port or _PORTS[url.scheme],
        authority=url.netloc.rpartition("@")[2],
        prefix=url.path.rstrip("/"),
    )
