"""What a process writes: one JSON object a line on standard error, as journald takes it.

`{"time": RFC 3339, "level", "logger", "message", "node", …, "exception"?}`. Who handles a
request or a job binds its ids once (`bind`); every line that is written on its way then has
them. docs/logs.md lists the names. No line has the text of a prompt or an answer.

SIGUSR1 makes a running process tell everything, SIGUSR2 what its setting says.

The standard library's `logging` with a formatter: structlog's took 2.4 times as long for a
line, and a broker writes two for each job.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO

import msgspec

Level = Literal["debug", "info", "warning", "error"]

# Attributes every record has; whatever else it carries came by `extra=` and is kept.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# These write a line per request, with its URL.
_QUIET: Final = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore", "asyncio")
# sd-daemon(3): a line that begins so has this priority in the journal.
_PRIORITIES: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}

_BOUND: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "okome_log", default=MappingProxyType({})
)  # fmt: skip


class JsonFormatter(logging.Formatter):
    """A record as one line: what it says, then what `process` says of this process, what is
    bound, and what it carries by `extra=`."""

    def __init__(self, process: Mapping[str, object], *, journal: bool) -> None:
        super().__init__()
        self._process = dict(process)
        self._journal = journal
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._process,
            **_BOUND.get(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = self._encoder.encode(line).decode()
        return f"<{_PRIORITIES.get(record.levelname, 6)}>{text}" if self._journal else text


def configure_logging(
    level: Level,
    process: Mapping[str, object],
    *,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Sends everything from `level` on to `stream` (standard error). For the journal
    (JOURNAL_STREAM) each line has its priority."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(process, journal="JOURNAL_STREAM" in environment))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Where in the source, by which thread and process a line was written no line says, and to
    # find out is a fifth of its cost ("Optimization" in Python's logging HOWTO).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def obey_signals(loop: asyncio.AbstractEventLoop, level: Level) -> None:
    """SIGUSR1: debug. SIGUSR2: `level` again."""
    loop.add_signal_handler(signal.SIGUSR1, _switch, "debug")
    loop.add_signal_handler(signal.SIGUSR2, _switch, level)


def bind(**ids: str) -> None:
    """Every line that this task, and those that it starts, write from now on has these too."""
    _BOUND.set({**_BOUND.get(), **ids})


def bound(**ids: str) -> Context:
    """This context, with these: for a task that is about something else than its maker."""
    context = copy_context()
    context.run(bind, **ids)
    return context


def user_mark(user_id: str) -> str:
    """What lines say of a user: the same for the same one, and no name."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:12]


def _switch(level: Level) -> None:
    logging.getLogger().setLevel(level.upper())
    logging.getLogger(__name__).warning("the log level is %s now", level)
