"""What a token's whole walk through a broker costs, without its sockets and its loop.

    python -m bench.walk [--tokens 40000] [--rounds 7] [--native off] [--profile | --measures]

From the bytes of an engine's read to the frames of a client's write: connection, parser,
relay, window, log, pump, view. Microseconds of CPU time a token, the best round. "A token a
read" is the pace of an engine; of one that is unthrottled a read brings some 32. `none` is
the log in memory; for `local` each read is one flush, encoded for Redis and then dropped.

`--measures` says what measuring costs: walks with and without, by turns, each walk in both
orders, so that a machine that grows slower does so for both.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import statistics
import time
from typing import Any, cast

from bench.chunks import Chunks
from stream_broker.alarms import Alarms
from stream_broker.backlog import Backlog, Share
from stream_broker.connection import StreamConnection
from stream_broker.engines.connection import EngineConnection
from stream_broker.engines.dialects import OpenAIDialect
from stream_broker.engines.origin import origin_of
from stream_broker.engines.stream import EngineStream
from stream_broker.events import Event
from stream_broker.live import LiveJob
from stream_broker.log.appending import AppendEncoder
from stream_broker.log.direct import DirectWriter
from stream_broker.log.memory import MemoryLog
from stream_broker.log.turns import Turns
from stream_broker.log.writer import Writable, Writer
from stream_broker.measures import Delivery, Hearing
from stream_broker.metrics import GAP_BUCKETS
from stream_broker.native import Native, load
from stream_broker.pump import Pump
from stream_broker.relay import Relay
from stream_broker.spread import Spread
from stream_broker.views.openai import OpenAIView
from stream_broker.window import WINDOW_BYTES, Window
from tests.stream_broker.building import JOB, KEYS, LIFETIMES, head

PER_READ = (1, 32)
LOGS = ("none", "local")
_LOG_MAX = 1 << 30
_FAR = 3600.0


class Nowhere:
    """The transports of an engine and of a client, and who asks for engines."""

    def __init__(self) -> None:
        self.written = 0
        # Who hears what an engine says.
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Encoding:
    """A log's writer that flushes what is added at once, to nowhere."""

    def __init__(self) -> None:
        self._turns: Turns[Writable] = Turns()
        self._encoder = AppendEncoder(KEYS, 900, 900)

    def add(self, job: Writable, events: list[Event]) -> None:
        self._turns.add(job, events)
        batch = self._turns.take()
        b"".join([self._encoder.encode(job.to_append(events), None) for job, events in batch])
        for writable, its in batch:
            self._turns.done(writable, len(its))
            writable.stored(its[-1].seq)

    def drop(self, job: Writable) -> None:
        self._turns.drop(job)


async def walk(
    log: str, reads: list[bytes], native: Native | None, *, measured: bool = True
) -> Nowhere:
    """A job that runs, with its engine's connection and its viewer's. `measured`: as in
    service, with its gaps at both ends."""
    alarms, nowhere = Alarms(), Nowhere()
    memory = MemoryLog(time.time, max_bytes=_LOG_MAX, **LIFETIMES)
    its_head = head(durability="none")
    await memory.create(its_head)
    writer = cast(Writer, DirectWriter(memory) if log == "none" else Encoding())
    relay = Relay(JOB, its_head.created_at, log_max=_LOG_MAX, prompt_estimate=5)
    window = Window(WINDOW_BYTES)
    live = LiveJob(
        its_head,
        1,
        relay,
        window,
        writer,
        clock=time.time,
        monotonic=time.monotonic,
        share=Share(Backlog(64 << 10)),
        max_pause=_FAR,
        alarms=alarms,
    )
    hearing = Hearing(Spread(GAP_BUCKETS), JOB, lambda *_: None) if measured else None
    stream = EngineStream(
        b"", OpenAIDialect(), live, nowhere, _FAR, time.monotonic, alarms, hearing
    )
    origin = origin_of("http://127.0.0.1:1")
    connection = EngineConnection(cast(Any, nowhere), origin, 1 << 20, time.monotonic)
    nowhere.protocol = connection
    connection.connection_made(cast(asyncio.BaseTransport, nowhere))
    stream.attach(connection)
    live.attach(stream)
    client = StreamConnection.__new__(StreamConnection)
    client.full, client.transport = False, cast(Any, nowhere)
    view = OpenAIView(its_head, 0)
    shorten = None
    if native is not None:
        stream.shorten(native.intakes(live))
        shorten = native.outlets(client, view)
    pump = Pump(client, view, 0, heartbeat=_FAR, send_timeout=_FAR, alarms=alarms, shorten=shorten)
    if measured:
        pump.delivery = Delivery(Spread(GAP_BUCKETS), JOB, None)
    pump.follow(window, lambda _: None)
    nowhere.protocol.data_received(reads[0])
    return nowhere


def reads_of(tokens: int, per_read: int) -> list[bytes]:
    """The opening, and the stream in reads of so many tokens."""
    chunks = Chunks(1)
    stamp = time.monotonic_ns()
    whole = [chunks.token(number, stamp, last=False) for number in range(1, tokens + 1)]
    parts = [b"".join(whole[at : at + per_read]) for at in range(0, tokens, per_read)]
    return [chunks.opening(), *parts]


async def once(
    log: str,
    reads: list[bytes],
    native: Native | None,
    profile: cProfile.Profile | None = None,
    *,
    measured: bool = True,
) -> float:
    """Seconds of CPU time that one walk takes."""
    nowhere = await walk(log, reads, native, measured=measured)
    gc.collect()
    if profile is not None:
        profile.enable()
    begin = time.process_time()
    for data in reads[1:]:
        nowhere.protocol.data_received(data)
    took = time.process_time() - begin
    if profile is not None:
        profile.disable()
    if nowhere.written < sum(map(len, reads)) / 2:
        raise SystemExit(f"only {nowhere.written} bytes came of {sum(map(len, reads))}")
    return took


async def measure(log: str, per_read: int, options: argparse.Namespace) -> float:
    """Microseconds of CPU time a token, the best of the rounds."""
    reads = reads_of(options.tokens, per_read)
    profile = cProfile.Profile() if options.profile else None
    native = native_of(options)
    best = min([await once(log, reads, native, profile) for _ in range(options.rounds)])
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)
    return best / int(options.tokens) * 1e6


async def compare(
    log: str, per_read: int, options: argparse.Namespace
) -> tuple[float, float, float]:
    """The same without measuring and with it, and how much more the second took than the first
    beside it, by the median of all pairs: of two walks that follow each other both had the
    same machine."""
    reads = reads_of(options.tokens, per_read)
    native = native_of(options)
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * options.rounds):
        for measured in (False, True) if number % 2 else (True, False):
            took[measured].append(await once(log, reads, native, measured=measured))
    without, with_ = (min(took[measured]) / options.tokens * 1e6 for measured in (False, True))
    pairs = zip(took[False], took[True], strict=True)
    return without, with_, statistics.median(b / a for a, b in pairs) - 1


def native_of(options: argparse.Namespace) -> Native | None:
    """The native part, unless it is to be left out or is not there."""
    return load() if options.native == "on" else None


def print_measures(options: argparse.Namespace) -> None:
    """The table of what measuring costs."""
    print("| log | tokens a read | without, us | with, us | more | more, pair by pair |")
    print("| --- | --- | --- | --- | --- | --- |")
    for log in LOGS:
        for per_read in PER_READ:
            without, with_, pairs = asyncio.run(compare(log, per_read, options))
            more = f"{with_ / without - 1:.1%} | {pairs:.1%}"
            print(f"| {log} | {per_read} | {without:.2f} | {with_:.2f} | {more} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--native", choices=("on", "off"), default="on")
    parser.add_argument("--profile", action="store_true", help="say which functions it goes to")
    parser.add_argument("--measures", action="store_true", help="say what measuring costs")
    options = parser.parse_args()
    if options.measures:
        print_measures(options)
        return
    print("| us a token | " + " | ".join(f"{count} a read" for count in PER_READ) + " |")
    print("| --- |" + " --- |" * len(PER_READ))
    for log in LOGS:
        found = [asyncio.run(measure(log, per_read, options)) for per_read in PER_READ]
        print(f"| {log} | " + " | ".join(f"{figure:.2f}" for figure in found) + " |")


if __name__ == "__main__":
    main()
