"""The client of the engines: starts generations, keeps connections between them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from contracts.grants import EngineTarget
from stream_broker.alarms import Alarms
from stream_broker.engines import failures
from stream_broker.engines.call import EngineCall
from stream_broker.engines.connection import EngineConnection
from stream_broker.engines.dial import dial
from stream_broker.engines.dialects import dialect_for
from stream_broker.engines.origin import Origin, origin_of
from stream_broker.engines.pool import IdlePool
from stream_broker.engines.presence import Presence
from stream_broker.engines.stream import EngineSink, EngineStream
from stream_broker.measures import Hearing

__all__ = ["EngineClient", "EngineSink", "EngineStream"]

log = logging.getLogger(__name__)

IDLE_MAX: Final = 128
# Shorter than what the engines wait before they close: vLLM and llama.cpp 5.0 s.
IDLE_EXPIRY_S: Final = 4.0


class EngineClient:
    """Starts generations on engines. One for a process; `aclose` ends all of it.

    Args: `connect_timeout` and `idle_timeout` in seconds, the second between bytes of a
    stream that is not paused; `line_max`, longest line of a stream in bytes;
    `read_buffer`, the receive buffer of a connection and what it may read in one turn:
    what a job may take in beyond its limits, thousands of them at once; `stopped` hears
    how many seconds it took to close the connection of an engine that was to stop.
    """

    def __init__(
        self,
        connect_timeout: float,
        idle_timeout: float,
        line_max: int,
        read_buffer: int = 8 * 1024,
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._stopped = stopped
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._line_max = line_max
        self._read_buffer = read_buffer
        self._clock = clock
        self._pool: IdlePool[EngineConnection] = IdlePool(IDLE_MAX, IDLE_EXPIRY_S)
        self._sweep: asyncio.TimerHandle | None = None
        self._streams: dict[EngineStream, Origin] = {}
        self._dials: dict[EngineStream, asyncio.Task[None]] = {}
        self._open: set[EngineConnection] = set()
        self._cut: dict[EngineConnection, float] = {}
        self._all_gone = asyncio.Event()
        self._alarms = Alarms()
        self._presence = Presence(connect_timeout)
        self._closed = False

    async def start(
        self,
        target: EngineTarget,
        call: EngineCall,
        sink: EngineSink,
        hearing: Hearing | None = None,
    ) -> EngineStream:
        """Starts a generation of the target's model and returns at once.

        The sink hears nothing before this has returned. Whatever goes wrong afterwards,
        from the connection on, is a Failure to the sink. Raises ValueError for a target
        that cannot be streamed from (its kind, its URL), RuntimeError after `aclose`.
        """
        if self._closed:
            raise RuntimeError("the engine client is closed")
        dialect = dialect_for(target.kind, self._line_max)
        origin = origin_of(target.base_url)
        asked = dialect.request(msgspec.structs.replace(call, model=target.model))
        if call.traceparent is not None:
            headers = (*asked.headers, ("traceparent", call.traceparent))
            asked = msgspec.structs.replace(asked, headers=headers)
        request = origin.encode(asked)
        if hearing is not None:
            hearing.asked(self._clock())
        stream = EngineStream(
            request, dialect, sink, self, self._idle_timeout, self._clock, self._alarms, hearing
        )
        self._streams[stream] = origin
        connection = self._pool.take(origin, self._clock())
        if connection is not None:
            stream.attach(connection)
        else:
            self.dial(stream)
        return stream

    async def aclose(self) -> None:
        """Closes every stream (their sinks hear no more) and every connection."""
        self._closed = True
        dials = list(self._dials.values())
        for stream in list(self._streams):
            stream.close()
        self._alarms.close()
        await self._presence.aclose()
        for connection in self._pool.clear():
            connection.abort()
        if self._sweep is not None:
            self._sweep.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for connection in self._open:
            connection.abort()
        while self._open:
            self._all_gone.clear()
            await self._all_gone.wait()

    # For streams.

    def dial(self, stream: EngineStream) -> None:
        """Opens a fresh connection for a stream; the one task that a stream ever has."""
        task = asyncio.get_running_loop().create_task(self._dial(stream))
        self._dials[stream] = task
        task.add_done_callback(lambda _: self._dials.pop(stream, None))

    def forget(self, stream: EngineStream) -> None:
        """The stream is over."""
        self._streams.pop(stream, None)
        task = self._dials.pop(stream, None)
        if task is not None:
            task.cancel()

    def cutting(self, connection: EngineConnection) -> None:
        """Measures from now on until the connection is gone."""
        self._cut[connection] = self._clock()

    def doubt(self, stream: EngineStream) -> None:
        """Asks whether the stream's engine still takes connections."""
        self._presence.doubt(self._streams[stream], stream.gone)

    async def _dial(self, stream: EngineStream) -> None:
        origin = self._streams[stream]
        make = partial(EngineConnection, self, origin, self._read_buffer, self._clock)
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await dial(origin, make, self._read_buffer)
        except (OSError, UnicodeError) as error:
            log.warning("cannot reach %s: %r", origin.authority, error)
            stream.fail(failures.unreachable())
            return
        if connection.is_open:
            self._open.add(connection)
            stream.attach(connection)
        else:
            stream.fail(failures.hung_up())

    # For connections.

    def connection_idle(self, connection: EngineConnection) -> None:
        """Keeps a connection for the next generation."""
        if self._closed:
            connection.abort()
            return
        for surplus in self._pool.put(connection.origin, connection, self._clock()):
            surplus.abort()
        self._sweep_later()

    def connection_gone(self, connection: EngineConnection) -> None:
        """Forgets a connection."""
        self._pool.discard(connection)
        self._open.discard(connection)
        since = self._cut.pop(connection, None)
        if since is not None:
            self._stopped(self._clock() - since)
        if not self._open:
            self._all_gone.set()

    def _sweep_later(self) -> None:
        if self._sweep is None and len(self._pool):
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(IDLE_EXPIRY_S, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        for connection in self._pool.expire(self._clock()):
            connection.abort()
        self._sweep_later()
