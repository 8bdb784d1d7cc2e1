"""The load against the engine itself, and against one that cheats."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest

from bench.chunks import Chunks
from bench.client import Reader, connect
from bench.driver import Driver
from bench.meter import Meter
from bench.scenarios import SCENARIOS
from bench.spec import LoadSpec, Target
from bench.workloads import WORKLOADS, Workload

Address = tuple[str, int]
FAULTS = ("lost", "repeated", "swapped", "unfinished", "failed")


async def run(engine: Address, name: str, **small: Any) -> dict[str, Any]:
    """A small form of a workload, straight at the engine."""
    workload: Workload = msgspec.structs.replace(WORKLOADS[name], **small)
    us = {"load": os.getpid()}
    spec = LoadSpec(Target(*engine), engine, workload, us, us)
    driver = Driver(spec)
    found = await SCENARIOS[workload.mode](driver)
    await driver.aclose()
    assert [found[fault] for fault in FAULTS] == [0] * len(FAULTS)
    assert found["error"] is None
    return found


@pytest.mark.parametrize("name", ["W1", "W5", "bursts"])
async def test_streams_are_measured_and_whole(engine: Address, name: str) -> None:
    found = await run(engine, name, streams=4, ramp=0.01, window=0.2)
    assert found["streams"] == 4
    assert found["tokens"] == found["latency"]["count"] > 0
    assert found["ttft"]["count"] == 4
    assert 0 < found["latency"]["p50_ms"] <= found["latency"]["p99_ms"]


async def test_short_answers_are_measured_one_and_sixteen_at_a_time(engine: Address) -> None:
    found = await run(engine, "W4", streams=20, rate=2000)
    assert found["lanes_1"]["ttft"]["count"] == found["lanes_16"]["ttft"]["count"] == 20


async def test_openings_are_timed(engine: Address) -> None:
    found = await run(engine, "openings", streams=10, ramp=0.05, tokens=2, rate=100)
    assert found["ttft"]["count"] == 10


async def test_the_cost_of_opening_is_told_by_process(engine: Address) -> None:
    found = await run(engine, "entries", streams=10, ramp=0.05)
    assert found["tokens"] == 10
    assert set(found["cpu_ms_per_opening"]) == {"load"}


async def test_silent_streams_are_counted_at_the_engine(engine: Address) -> None:
    found = await run(engine, "silent", streams=10, ramp=0.05, window=0.05)
    assert found["open"] == 10


async def test_frozen_readers_stop_and_healthy_ones_go_on(engine: Address) -> None:
    found = await run(engine, "frozen", streams=3, ramp=0.05, window=0.2, tokens=100)
    assert found["frozen"] == 3
    assert found["beside"]["latency"]["count"] > 0


async def test_streams_beside_a_flood_are_measured_by_themselves(engine: Address) -> None:
    found = await run(engine, "flood", streams=3, ramp=0.05, window=0.2)
    assert found["flooding"] == 3
    assert found["streams"] == 23
    beside = found["beside"]
    assert 0 < beside["tokens"] == beside["latency"]["count"]
    assert found["flood_tokens_per_s"] * beside["seconds"] > beside["tokens"]


async def read(stream: bytes) -> Reader:
    """What a reader finds in a response that some server sends and ends with."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(stream)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader = await connect(*server.sockets[0].getsockname(), Meter())
        reader.ask(b"GET / HTTP/1.1\r\n\r\n", stream=1)
        await reader.over
        reader.close()
        await asyncio.sleep(0)
    return reader


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [((1, 2, 3), None), ((1, 3), "lost"), ((1, 2, 2, 3), "repeated"), ((2, 1, 3), "swapped")],
)
async def test_a_cheating_proxy_is_found_out(numbers: tuple[int, ...], fault: str | None) -> None:
    chunks = Chunks(1)
    events = [chunks.token(number, 1, number == 3) for number in numbers]
    reader = await read(b"".join([chunks.opening(), *events, chunks.ending(3)]))
    assert reader.over.result() is None
    found = {name: getattr(reader.check, name) for name in ("lost", "repeated", "swapped")}
    assert found == {"lost": 0, "repeated": 0, "swapped": 0} | ({fault: 1} if fault else {})


async def test_an_end_without_done_is_told() -> None:
    chunks = Chunks(1)
    reader = await read(chunks.opening() + chunks.token(1, 1, last=False))
    assert "without [DONE]" in str(reader.over.result())


async def test_a_refusal_is_told_with_what_it_says() -> None:
    reader = await read(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
    assert "status 503: b'busy'" in str(reader.over.result())
