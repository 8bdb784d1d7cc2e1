"""What is wrong with a Redis that the log is to use, said when the broker starts.

Only what a person has to mend: one that does not answer, or is full, or read-only for now,
is waited out (CONTRACT, promise 9) and only mentioned.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from stream_broker.log.store import Address, connect

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 1.0
# What is tested: Debian 12 has it, and it is the first with ADDSLOTSRANGE.
_OLDEST = 7


class LogRefused(Exception):
    """A Redis of the log cannot be used as it is; the message says which and why."""


async def check(addresses: tuple[Address, ...], password: str, *, clustered: bool) -> None:
    """Looks at every process that answers. Raises LogRefused for the first that will never do."""
    found = await asyncio.gather(*(_info(address, password) for address in addresses))
    for (host, port), info in zip(addresses, found, strict=True):
        if isinstance(info, str):
            raise LogRefused(f"the log's Redis at {host}:{port} {info}")
        if info is None:
            _LOG.warning("the log's Redis at %s:%d does not answer yet", host, port)
            continue
        if fault := fatal(info, clustered=clustered):
            raise LogRefused(f"the log's Redis at {host}:{port} {fault}")
        if worry := passing_fault(info, clustered=clustered):
            _LOG.warning("the log's Redis at %s:%d %s", host, port, worry)


def fatal(info: dict[str, Any], *, clustered: bool) -> str | None:
    """What is wrong for good, by the answer of INFO."""
    version = str(info.get("redis_version", "0"))
    if int(version.partition(".")[0]) < _OLDEST:
        return f"is version {version}; {_OLDEST}.0 or later is needed"
    if bool(info.get("cluster_enabled")) != clustered:
        return "is no member of a cluster" if clustered else "is a member of a cluster"
    return None


def passing_fault(info: dict[str, Any], *, clustered: bool) -> str | None:
    """What may pass, and makes streams wait until it does."""
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        return f"drops what it holds when it is full (maxmemory-policy {policy})"
    limit = int(info.get("maxmemory", 0))
    if limit and int(info.get("used_memory", 0)) >= limit:
        return "is full: new jobs live on one broker only, and running ones wait"
    if not clustered and info.get("role") != "master":
        return "is a read-only replica: new jobs live on one broker only"
    return None


async def _info(address: Address, password: str) -> dict[str, Any] | str | None:
    """The answer of INFO; why it is refused; None when there is no answer."""
    host, port = address
    client = connect(host, port, timeout=_TIMEOUT_S, password=password)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            info: dict[str, Any] = await client.info()
            return info
    except AuthenticationError:
        given = "refuses the password of credentials/redis_password"
        return given if password else "wants a password; put it into credentials/redis_password"
    except ResponseError as error:
        # LOADING and the like pass by themselves.
        _LOG.debug("%s:%d: %s", host, port, error)
        return None
    except (RedisError, OSError, TimeoutError):
        return None
    finally:
        await client.aclose()
