"""One Redis as brokers use it: scripts by name, pipelines, errors in the log's words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Broken

from stream_broker.log.base import LogUnavailable, Unacknowledged

# Answers that say "not now" rather than "never". The client takes the error's word away
# where it has a class for it, and puts other words before it in pipelines.
_PASSING = (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
# UNBLOCKED: a WAIT was under way when the primary became a replica.
_PASSING_WORDS = re.compile(r"\b(MISCONF|NOREPLICAS|BUSY|UNBLOCKED)\b")
# The same answers as they stand in a reply that no client has read yet.
_PASSING_REPLY = re.compile(
    "ASK|CLUSTERDOWN|LOADING|MASTERDOWN|MOVED|NOSCRIPT|OOM|READONLY|TRYAGAIN|MISCONF|NOREPLICAS"
    "|BUSY|NOAUTH|UNBLOCKED|ERR max number of clients"
)

Script = tuple[str, Sequence[str], Sequence[Any]]
Address = tuple[str, int]

# How long the replicas may take to acknowledge a write (milliseconds). Less than any
# client's timeout: a connection must not end because a replica is slow.
WAIT_MS = 300


class LoopConnection(Connection):
    """The client's, on uvloop: a write to a connection that is broken already, and of which the
    client has not heard yet, is a RuntimeError there that no client knows."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Raises redis' ConnectionError for it, as for any that breaks."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            if "the handler is closed" not in str(error):
                raise
            raise Broken("the connection has ended") from error


def connect(
    host: str, port: int, *, timeout: float, connections: int = 64, password: str = ""
) -> Any:
    """A client whose every call ends within `timeout` seconds.

    Only a broken connection is tried once more: after a restart of the store every pooled
    one is broken, and each would fail a call. So calls have to be repeatable.
    At most `connections` calls at once; the others wait for their turn, as long again.
    """
    pool = BlockingConnectionPool(
        connection_class=LoopConnection,
        host=host,
        port=port,
        password=password or None,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        max_connections=connections,
        retry=Retry(NoBackoff(), 1, supported_errors=(Broken,)),
        decode_responses=False,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turns what the client raises into LogUnavailable, once, at the edge.

    A reply that says our own command is wrong is a fault of ours and passes through.
    """
    try:
        yield
    except ResponseError as error:
        if isinstance(error, _PASSING) or _PASSING_WORDS.search(str(error)):
            raise LogUnavailable(str(error)) from error
        raise
    except (TimeoutError, RedisError, OSError) as error:
        raise LogUnavailable(type(error).__name__) from error


def passing(word: str) -> bool:
    """Does an error reply that begins like this say "not now" rather than "never"?"""
    return bool(_PASSING_REPLY.match(word))


class Scripts:
    """Runs Lua by digest and loads it where it is not known yet."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def run(self, source: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """One script in one round trip. Raises LogUnavailable."""
        (reply,) = await self.run_all([(source, keys, args)])
        return reply

    async def run_all(self, calls: Sequence[Script], acks: int = 0) -> list[Any]:
        """Several scripts in one pipeline; the replies in order.

        Raises LogUnavailable, also when fewer than `acks` replicas have it: then it may
        be there all the same.
        """
        async with translated():
            replies = await self._pipeline(calls, acks)
            if any(isinstance(reply, NoScriptError) for reply in replies):
                for source in {call[0] for call in calls}:
                    await self._redis.script_load(source)
                replies = await self._pipeline(calls, acks)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        if acks and replies.pop() < acks:
            raise Unacknowledged("too few replicas have it")
        return replies

    async def _pipeline(self, calls: Sequence[Script], acks: int) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for source, keys, args in calls:
                pipe.evalsha(digest(source), len(keys), *keys, *args)
            if acks:
                pipe.wait(acks, WAIT_MS)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies


@cache
def digest(source: str) -> str:
    """What Redis knows a script by."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
