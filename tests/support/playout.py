"""Traces of engines, and playing them through a pacer in virtual time.

An arrival is (seconds, tokens). Recorded traces lie in tests/data/traces (made by
`bench/record_trace.py`); the others are generated, from a seed, so always the same.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from stream_broker.gaps import nearest_rank

Trace = list[tuple[float, int]]
TRACES = Path(__file__).parents[1] / "data" / "traces"


class Playout(Protocol):
    """What the pacer offers, and what it is compared with."""

    next_at: float | None

    def push(self, now: float, seq: int) -> int:
        """As `Pacer.push`."""

    def release(self, now: float) -> int:
        """As `Pacer.release`."""


@dataclass
class Played:
    """What became of a trace: per token when it arrived and when it was released."""

    arrived: list[float]
    released: list[float]
    writes: int

    @property
    def residence(self) -> list[float]:
        """How long each token was held."""
        return [out - came for came, out in zip(self.arrived, self.released, strict=True)]


def play(playout: Playout, trace: Trace) -> Played:
    """Plays a trace with timers that fire on time, until nothing is held any more."""
    played = Played([], [], 0)
    seq = 0

    def let_go(cursor: int, now: float) -> None:
        fresh = cursor - len(played.released)
        played.released.extend([now] * fresh)
        played.writes += fresh > 0

    def run_timers(until: float) -> None:
        while playout.next_at is not None and playout.next_at <= until:
            now = playout.next_at
            let_go(playout.release(now), now)

    for now, tokens in trace:
        run_timers(now)
        seq += tokens
        played.arrived.extend([now] * tokens)
        let_go(playout.push(now, seq), now)
    run_timers(math.inf)
    return played


def gaps(times: Sequence[float]) -> list[float]:
    """The gaps between successive tokens, ascending."""
    return sorted(after - before for before, after in pairwise(times))


def jitter(times: Sequence[float]) -> float:
    """p99 − p50 of the gaps (CONTRACT, `jitter_ms`), in seconds."""
    ordered = gaps(times)
    return nearest_rank(ordered, 99) - nearest_rank(ordered, 50)


def recorded() -> dict[str, list[Trace]]:
    """The recorded traces by name, each with its concurrent streams."""
    return {path.stem: _load(path) for path in sorted(TRACES.glob("*.json"))}


def _load(path: Path) -> list[Trace]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [[(us / 1e6, count) for us, count in stream] for stream in content["streams"]]


def generated() -> dict[str, Trace]:
    """The generated traces by name."""
    return {name: make(random.Random(name)) for name, make in _MAKERS.items()}


def constant(gap: float, tokens: int) -> Trace:
    """One token every `gap` seconds."""
    return bursts(gap, 1, tokens)


def bursts(period: float, size: int, count: int) -> Trace:
    """`size` tokens at once, every `period` seconds."""
    return _at((period, size) for _ in range(count))


def _at(steps: Iterable[tuple[float, int]]) -> Trace:
    """(gap before it, tokens) of each arrival to a trace that begins at 100 s."""
    trace, now = [], 100.0
    for gap, tokens in steps:
        now += gap
        trace.append((now, tokens))
    return trace


def _uneven(rng: random.Random) -> Trace:
    return _at((rng.uniform(0.015, 0.025), 1) for _ in range(600))


def _poisson(rate: float, tokens: int) -> Callable[[random.Random], Trace]:
    return lambda rng: _at((rng.expovariate(rate), 1) for _ in range(tokens))


def _speculating(period: float, spread: float, least: int = 2) -> Callable[[random.Random], Trace]:
    def make(rng: random.Random) -> Trace:
        return _at((rng.gauss(period, spread), rng.randint(least, 8)) for _ in range(250))

    return make


def _segments(rng: random.Random) -> Trace:
    """Bursts whose tokens are written one by one, 0.2 ms apart."""
    steps: list[tuple[float, int]] = []
    for _ in range(250):
        steps.append((rng.gauss(0.04, 0.003), 1))
        steps.extend([(0.0002, 1)] * rng.randint(1, 7))
    return _at(steps)


def _stalls(rng: random.Random) -> Trace:
    """A steady engine that falls silent once in a hundred tokens, and goes on."""
    return _at(
        (rng.gauss(0.025, 0.002) if rng.random() > 0.01 else rng.uniform(0.5, 2.0), 1)
        for _ in range(800)
    )


def _stalls_of_bursts(rng: random.Random) -> Trace:
    """A speculating one that does; what has piled up comes at once."""
    steps = []
    for _ in range(300):
        stalled = rng.random() < 0.02
        size = rng.randint(2, 6)
        steps.append((rng.uniform(0.5, 2.0), 30) if stalled else (rng.gauss(0.06, 0.005), size))
    return _at(steps)


def _faster(_: random.Random) -> Trace:
    """The engine has the machine to itself from the sixtieth burst on."""
    return _at((0.080 if number < 60 else 0.030, 4) for number in range(210))


_MAKERS: dict[str, Callable[[random.Random], Trace]] = {
    "constant_20ms": lambda _: constant(0.020, 600),
    "constant_49ms": lambda _: constant(0.049, 400),
    "constant_1ms": lambda _: constant(0.001, 2000),
    "uneven_15_to_25ms": _uneven,
    "poisson_50_per_s": _poisson(50, 1000),
    "poisson_20_per_s": _poisson(20, 500),
    "poisson_300_per_s": _poisson(300, 2000),
    "bursts_4_every_80ms": lambda _: bursts(0.080, 4, 150),
    "bursts_4_every_80ms_short": lambda _: bursts(0.080, 4, 20),
    "bursts_4_every_300ms": lambda _: bursts(0.300, 4, 100),
    "bursts_3_every_10ms": lambda _: bursts(0.010, 3, 600),
    "bursts_8_every_27ms": lambda _: bursts(0.027, 8, 250),
    "bursts_2_to_8_every_80ms": _speculating(0.080, 0.004),
    "bursts_2_to_8_every_40ms": _speculating(0.040, 0.003),
    "bursts_2_to_8_in_segments": _segments,
    "bursts_getting_faster": _faster,
    "stalls": _stalls,
    "stalls_of_bursts": _stalls_of_bursts,
}
