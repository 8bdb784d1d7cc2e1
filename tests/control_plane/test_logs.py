"""One JSON object per line, whatever happens."""

from __future__ import annotations

import json
import logging
import sys

from control_plane.logs import JsonFormatter


def test_a_record_with_extras_is_one_line() -> None:
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "WARNING", "msg": "engine %s\nis down", "args": ("x",)}
        | {"created": 1.5, "engine": "x"}
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": 1.5,
        "level": "warning",
        "logger": "a.b",
        "message": "engine x\nis down",
        "engine": "x",
    }


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exception"]
