"""One JSON object per line, whatever happens, with the ids of what is worked at."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from observability.logs import JsonFormatter, bind, bound, configure_logging, obey_signals
from observability.requests import BoundRequests, ids_of
from tests.support.eventually import eventually_async

LOG = logging.getLogger("tests.lines")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written to, with the loggers as they were afterwards."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    stream = io.StringIO()
    configure_logging("info", {"node": "n3", "worker": 0}, stream=stream, environment={})
    yield stream
    root.level, root.handlers[:] = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_with_extras_is_one_line() -> None:
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "WARNING", "msg": "engine %s\nis down", "args": ("x",)}
        | {"created": 1.5, "engine": "x"}
    )
    line = JsonFormatter({"node": "n3"}, journal=False).format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500000+00:00",
        "level": "warning",
        "logger": "a.b",
        "message": "engine x\nis down",
        "node": "n3",
        "engine": "x",
    }
    assert JsonFormatter({}, journal=True).format(record).startswith('<4>{"time"')


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    line = JsonFormatter({}, journal=False).format(record)
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exception"]


async def test_what_is_bound_is_the_task_s_and_its_children_s(written: io.StringIO) -> None:
    async def child() -> None:
        LOG.info("child")

    async def parent() -> None:
        bind(request_id="r1")
        loop = asyncio.get_running_loop()
        await loop.create_task(child())
        await loop.create_task(child(), context=bound(job_id="j1"))
        LOG.info("parent")

    await asyncio.create_task(parent())
    LOG.info("outside")
    ids = [(line.get("request_id"), line.get("job_id")) for line in lines(written)]
    assert ids == [("r1", None), ("r1", "j1"), ("r1", None), (None, None)]


async def test_signals_change_the_level(written: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    obey_signals(loop, "info")
    try:
        for number, level in ((signal.SIGUSR1, "debug"), (signal.SIGUSR2, "info")):
            os.kill(os.getpid(), number)
            told = f"the log level is {level} now"
            await eventually_async(
                lambda told=told: lines(written)[-1:] and told in lines(written)[-1]["message"]
            )  # type: ignore[misc]
            LOG.debug("seen at %s", level)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR2)
    seen = [line["message"] for line in lines(written)]
    assert "seen at debug" in seen
    assert "seen at info" not in seen


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"x-request-id", b"a-1.b")], {"request_id": "a-1.b"}),
        ([(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())], {"trace_id": TRACE}),
        ([(b"x-request-id", b'"}\n{"level":"error"')], {}),
        ([(b"x-request-id", b"x" * 65), (b"traceparent", b"00-short-01")], {}),
        ([(b"x-request-id", "ü".encode())], {}),
    ],
)
def test_only_sane_ids_are_taken(headers: list[tuple[bytes, bytes]], found: object) -> None:
    assert ids_of(headers) == found


async def test_a_request_s_lines_have_its_ids(written: io.StringIO) -> None:
    async def app(*_: Any) -> None:
        LOG.info("asked")

    asked = BoundRequests(app)
    scope = {"type": "http", "headers": [(b"x-request-id", b"r7")]}
    await asyncio.create_task(asked(scope, None, None))  # type: ignore[arg-type]
    await asyncio.create_task(asked({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert [line.get("request_id") for line in lines(written)] == ["r7", None]
