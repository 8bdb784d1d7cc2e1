"""Structured logging to stderr: one JSON object per line, exceptions included."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

# Attributes every record has; whatever else it carries came by `extra=` and is kept.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# These write a line per request, with its URL.
_QUIET: Final = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore")


class JsonFormatter(logging.Formatter):
    """`{"ts": Unix seconds, "level", "logger", "message", …extra, "exception"?}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging() -> None:
    """Sends everything from INFO to stderr; libraries that log per request from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
