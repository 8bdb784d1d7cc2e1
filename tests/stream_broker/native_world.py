"""A job from its engine's bytes to its viewers' frames, with the native part or without.

Everything is real but for the two sockets; time moves only as a test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from stream_broker.alarms import Alarms
from stream_broker.backlog import Backlog, Share
from stream_broker.connection import StreamConnection
from stream_broker.engines.connection import EngineConnection
from stream_broker.engines.dialects import OpenAIDialect
from stream_broker.engines.origin import origin_of
from stream_broker.engines.stream import EngineStream
from stream_broker.events import Event
from stream_broker.live import LiveJob
from stream_broker.log.direct import DirectWriter
from stream_broker.log.memory import MemoryLog
from stream_broker.log.writer import Writer
from stream_broker.measures import ChunkGaps, Delivery, Hearing
from stream_broker.metrics import GAP_BUCKETS
from stream_broker.native import Native
from stream_broker.playout import Playout
from stream_broker.pump import FRAME_BYTES, Pump
from stream_broker.relay import Relay
from stream_broker.spread import Spread
from stream_broker.views.base import View
from stream_broker.views.chat import ChatView
from stream_broker.views.native import NativeView
from stream_broker.views.openai import OpenAIView
from stream_broker.window import Room, Window
from tests.stream_broker.building import JOB, LIFETIMES, NOW, Clock, head

FAR = 1e6
SOCKET = 2000


class StillLoop(asyncio.SelectorEventLoop):
    """A loop whose time is told."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@dataclass(frozen=True)
class Shape:
    """What differs between jobs: bounds in bytes, the main viewer's view, and the log."""

    view: str = "openai"
    log_max: int = 1 << 20
    window: int = 24 << 10
    windows: int = 1
    backlog: int = 64 << 10
    paced: bool = False
    direct: bool = True
    line_max: int = 1 << 20


class EngineSocket:
    """The transport of an engine's connection: notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.calls.append("write")

    def is_closing(self) -> bool:
        return "abort" in self.calls

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)


class ClientSocket:
    """The transport of a client's connection: full when it has taken so much."""

    def __init__(self, connection: StreamConnection) -> None:
        self.frames: list[bytes] = []
        self.room = SOCKET
        self._connection = connection

    def write(self, data: bytes) -> None:
        self.frames.append(data)
        self.room -= len(data)
        self._connection.full = self.room < 0

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0


class Later:
    """A log's writer that stores when it is told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, job: LiveJob, events: list[Event]) -> None:
        self.events += events

    def drop(self, job: LiveJob) -> None:
        self.events.clear()


class Viewer:
    """One client of the job."""

    def __init__(self, world: World, view: View, cursor: int) -> None:
        self.connection = StreamConnection.__new__(StreamConnection)
        self.connection.full = False
        self.socket = ClientSocket(self.connection)
        self.connection.transport = cast(Any, self.socket)
        native = world.native
        self._world = world
        self.stopped: list[str] = []
        self.pump = Pump(
            self.connection,
            view,
            cursor,
            heartbeat=FAR,
            send_timeout=FAR,
            alarms=Alarms(),
            shorten=native.outlets(self.connection, view) if native else None,
        )
        self.pump.delivery = Delivery(Spread(GAP_BUCKETS), JOB, None)
        self.pump.follow(world.window, self.stopped.append)

    def take(self) -> None:
        """Its client reads all that is there."""
        self.socket.room = SOCKET
        self.connection.full = False
        self.pump.writable_again()
        if self.stopped[-1:] == ["behind"] and self.pump.over is None:
            self._catch_up()

    def _catch_up(self) -> None:
        """As `EventStream._catch_up`, of the log in memory."""
        world, pump = self._world, self.pump
        job = world.memory.find(JOB)
        kept = job.events if job is not None and world.shape.direct else []
        while pump.cursor + 1 < world.window.first and pump.cursor < len(kept):
            its, room = [], FRAME_BYTES
            for event in kept[pump.cursor :]:
                its.append(event)
                room -= event.size
                if room <= 0:
                    break
            pump.give(its)
        self.stopped.append("caught up")
        pump.follow(world.window, self.stopped.append)

    def picture(self) -> dict[str, Any]:
        pump = self.pump
        return {
            "frames": self.socket.frames,
            "cursor": pump.cursor,
            "wrote_at": pump._wrote_at,
            "stopped": list(self.stopped),
            "delivery": _measured(pump.delivery),
            "tried": pump._patience.tried,
        }


class World:
    """The job, its engine's connection, and its viewers."""

    def __init__(self, native: Native | None, shape: Shape) -> None:
        loop = asyncio.get_running_loop()
        self.native, self.shape = native, shape
        self.clock = Clock()
        self.head = head(durability="none")
        self.memory = MemoryLog(self.clock, max_bytes=1 << 30, **LIFETIMES)
        self.later = Later()
        self.relay = Relay(JOB, NOW, log_max=shape.log_max, prompt_estimate=5)
        room = Room()
        room.share(shape.windows)
        self.window = Window(shape.window, room=room)
        self.live = LiveJob(
            self.head,
            1,
            self.relay,
            self.window,
            cast(Writer, DirectWriter(self.memory) if shape.direct else self.later),
            clock=self.clock,
            monotonic=loop.time,
            share=Share(Backlog(shape.backlog)),
            max_pause=FAR,
            alarms=Alarms(),
        )
        if shape.paced:
            Playout(loop.time).pace(self.window, {"mode": "smooth"})
        self.hearing = Hearing(Spread(GAP_BUCKETS), JOB, lambda *_: None)
        self.socket = EngineSocket()
        self.viewers: list[Viewer] = []

    async def begin(self) -> None:
        """The request is sent, and the first viewer is there."""
        loop = asyncio.get_running_loop()
        await self.memory.create(self.head)
        self.stream = EngineStream(
            b"GET", OpenAIDialect(self.shape.line_max), self.live, cast(Any, self), FAR,
            loop.time, Alarms(), self.hearing,
        )  # fmt: skip
        self.parser = cast(Any, self.stream._parser)
        self.connection = EngineConnection(
            cast(Any, self), origin_of("http://127.0.0.1:1"), 8192, loop.time
        )
        self.socket.protocol = self.connection
        self.connection.connection_made(cast(asyncio.BaseTransport, self.socket))
        self.stream.attach(self.connection)
        self.live.attach(self.stream)
        if self.native is not None:
            self.stream.shorten(self.native.intakes(self.live))
        self.join(self.shape.view)

    def join(self, view: str, cursor: int = 0) -> None:
        """One more viewer."""
        views: dict[str, View] = {
            "openai": OpenAIView(self.head, cursor),
            "native": NativeView(),
            "chat": ChatView("c-1", NOW),
        }
        self.viewers.append(Viewer(self, views[view], cursor))

    def hear(self, data: bytes) -> None:
        """A read of the engine's connection, unless that is closed or not read."""
        if not self.socket.is_closing():
            self.socket.protocol.data_received(data)

    def store(self) -> None:
        """The log has all that it was given."""
        if self.later.events:
            last = self.later.events[-1].seq
            self.later.events.clear()
            self.live.stored(last)

    def picture(self) -> dict[str, Any]:
        """Everything that can be told from outside, and what stands in the objects."""
        job = self.memory.find(JOB)
        relay, window, live, gaps = self.relay, self.window, self.live, self.relay.gaps
        return {
            "relay": {
                name: getattr(relay, name)
                for name in ("state", "last_seq", "_bytes", "_ts", "_stamp", "reasoned")
            },
            "chunks": relay.tally.chunks,
            "gaps": (gaps.first, gaps.last, gaps._zeros, list(gaps._gaps)),
            "window": {
                name: getattr(window, name)
                for name in ("_before", "_bytes", "last", "durable", "shown", "ended", "unwritten")
            },
            "events": _told(window._events),
            "live": (live.done, live._paused, live._released, live._share._held, live.ended_at),
            "log": job and (_told(job.events), job.bytes, job.state.last_seq, job.state.end_name),
            "log_bytes": self.memory._bytes,
            "later": _told(self.later.events),
            "parser": {
                name: getattr(self.parser, name)
                for name in ("_proven", "_counted", "_over", "_reason", "_doubt")
            },
            "usage": self.stream.usage(),
            "hearing": _measured(self.hearing),
            "heard_at": self.connection.heard_at,
            "socket": self.socket.calls,
            "viewers": [viewer.picture() for viewer in self.viewers],
        }

    # Who keeps connections, and finds them for streams.

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name in ("connection_idle", "connection_gone", "forget", "cutting", "doubt"):
            return lambda *_: None
        raise AttributeError(name)


def _told(events: list[Event]) -> list[tuple[int, str, bytes, bytes | None]]:
    return [(event.seq, event.name, event.data, event._block) for event in events]


def _measured(gaps: ChunkGaps | None) -> Any:
    if gaps is None:
        return None
    spread = gaps._spread
    own = gaps.since, gaps.low, gaps.high, gaps.run, gaps._bucket
    return own, list(spread.counts), spread.total, dict(spread._marks)
