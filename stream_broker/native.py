"""The native part, where it is built (`native/`): shortcuts for what a token mostly is.

It does what the Python of these classes does, for reads and events that are nothing but
text; it never decides anything else (docs/adr/0029-a-native-shortcut.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from stream_broker.backlog import Backlog, Share
from stream_broker.connection import StreamConnection
from stream_broker.engines.connection import EngineConnection
from stream_broker.engines.openai import OpenAIParser
from stream_broker.engines.stream import Intake
from stream_broker.engines.template import decode_string
from stream_broker.events import OVERHEAD, Event
from stream_broker.gaps import Gaps
from stream_broker.live import LiveJob
from stream_broker.log.direct import DirectWriter
from stream_broker.log.lanes import LaneWriters
from stream_broker.log.memory import Job, MemoryLog
from stream_broker.measures import STALL_S, ChunkGaps, Hearing
from stream_broker.pump import FRAME_BYTES, FrameConnection, Outlet, Pump, Shorten
from stream_broker.record import JobState
from stream_broker.relay import Relay
from stream_broker.spread import Spread
from stream_broker.tally import Tally
from stream_broker.views.base import View
from stream_broker.views.native import NativeView
from stream_broker.views.openai import OpenAIView
from stream_broker.window import Room, Window

_TYPES = {
    "Relay": Relay,
    "Tally": Tally,
    "Gaps": Gaps,
    "Window": Window,
    "Room": Room,
    "Share": Share,
    "Backlog": Backlog,
    "LiveJob": LiveJob,
    "MemoryLog": MemoryLog,
    "MemoryJob": Job,
    "JobState": JobState,
    "ChunkGaps": ChunkGaps,
    "Spread": Spread,
    "OpenAIParser": OpenAIParser,
    "Event": Event,
    "Pump": Pump,
    "StreamConnection": StreamConnection,
    "EngineConnection": EngineConnection,
    "NativeView": NativeView,
}

# Makes the intake of a job's engine stream.
MakeIntake = Callable[[OpenAIParser, Hearing | None], Intake | None]


# What is told apart by it: a native part that was built for another form of these classes.
_FITS = 4

_LOG = logging.getLogger(__name__)


class Misfit(Exception):
    """The native part is of another version."""


class _Module(Protocol):
    """What `okome_native` has; see there."""

    FITS: int
    Layout: Any
    Intake: Any
    Outlet: Any


class Native:
    """Makes shortcuts. One for a process. Raises Misfit where `module` is of another version."""

    def __init__(self, module: _Module) -> None:
        if (theirs := getattr(module, "FITS", 0)) != _FITS:
            raise Misfit(f"it fits {theirs}, this is {_FITS}")
        self._module = module
        try:
            self._layout = module.Layout(
                _TYPES,
                overhead=OVERHEAD,
                frame_bytes=FRAME_BYTES,
                stall=STALL_S,
                decode=decode_string,
                encode=msgspec.json.Encoder().encode,
            )
        except AttributeError as error:
            raise Misfit(str(error)) from error

    def intakes(self, live: LiveJob) -> MakeIntake:
        """For a job that goes on from its beginning."""
        return partial(self._intake, live)

    def outlets(self, connection: FrameConnection, view: View) -> Shorten:
        """For a viewer."""
        return partial(self._outlet, connection, view)

    def _intake(self, live: LiveJob, parser: OpenAIParser, hearing: Hearing | None) -> Intake:
        memory, job = _stores_at_once(live)
        # Of all lanes it is always the same one.
        writer = live.writer.of(live) if isinstance(live.writer, LaneWriters) else live.writer
        made: Intake = self._module.Intake(self._layout, live, writer, parser, hearing, memory, job)
        return made

    def _outlet(self, connection: FrameConnection, view: View, pump: Pump) -> Outlet | None:
        if type(connection) is not StreamConnection:
            return None
        around: tuple[bytes | None, bytes | None] = (None, None)
        if isinstance(view, OpenAIView):
            around = view.text_form
        elif not isinstance(view, NativeView):
            return None
        write, time = connection.transport.write, asyncio.get_running_loop().time
        made: Outlet = self._module.Outlet(
            self._layout, pump, view, connection, write, time, *around
        )
        return made


def _stores_at_once(live: LiveJob) -> tuple[MemoryLog | None, Job | None]:
    """The log and the job in it, where the writer keeps events as they are said and nobody else
    could have the job."""
    writer = live.writer
    if not isinstance(writer, DirectWriter) or live.tenure is not None:
        return None, None
    job = writer.log.find(live.job_id)
    return (writer.log, job) if job is not None else (None, None)


def load() -> Native | None:
    """The native part; None where it is not built, or does not fit."""
    try:
        import okome_native

        return Native(okome_native)
    except ImportError:
        return None
    except Misfit as error:
        _LOG.warning("the native part is not used, for it does not fit: %s", error)
        return None
