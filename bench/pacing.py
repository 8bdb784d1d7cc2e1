"""What the pacer does to the jitter of engines, beside naive ways to smooth.

    python -m bench.pacing

Plays the recorded and the generated traces of `tests/support/playout.py` in virtual time,
so the figures are exact and the same on every machine; only the cost of a call is
measured. Prints the tables of docs/pacing.md. Jitter is p99 − p50 of the gaps between
tokens, residence is from arrival to release; all in milliseconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from stream_broker.gaps import nearest_rank
from stream_broker.pacer import Pacer, PacingPolicy
from tests.support.playout import Playout, Trace, constant, generated, jitter, play, recorded

Make = Callable[[], Playout]


class FixedWindow:
    """Gathers for so many seconds from the first token on, then lets all of it go."""

    def __init__(self, window: float) -> None:
        self.next_at: float | None = None
        self._window = window
        self._arrived = self._released = 0

    def push(self, now: float, seq: int) -> int:
        """Holds; the first one opens the window."""
        self._arrived = seq
        if self.next_at is None:
            self.next_at = now + self._window
        return self._released

    def release(self, _now: float) -> int:
        """The window closes."""
        self.next_at = None
        self._released = self._arrived
        return self._released


class TokenBucket:
    """At most one token in so many seconds, whatever comes."""

    def __init__(self, gap: float) -> None:
        self.next_at: float | None = None
        self._gap = gap
        self._free_at = 0.0
        self._arrived = self._released = 0

    def push(self, now: float, seq: int) -> int:
        """Lets one go if the last one is long enough ago."""
        self._arrived = seq
        if self.next_at is None:
            self.next_at = max(now, self._free_at)
        return self.release(now)

    def release(self, now: float) -> int:
        """Lets one go."""
        if self.next_at is not None and now >= self.next_at:
            self._released += 1
            self._free_at = now + self._gap
            self.next_at = self._free_at if self._released < self._arrived else None
        return self._released


COMPARED = [
    "embedded_4",
    "speculative_2",
    "constant_20ms",
    "constant_49ms",
    "poisson_50_per_s",
    "bursts_4_every_80ms",
    "bursts_2_to_8_every_40ms",
]
WAYS: dict[str, Make] = {
    "pacer": lambda: Pacer(PacingPolicy()),
    "window 50 ms": lambda: FixedWindow(0.050),
    "bucket 20 ms": lambda: TokenBucket(0.020),
}


def figures(make: Make, streams: list[Trace]) -> tuple[float, float, list[float], float]:
    """Jitter of engine and delivery (means of the streams), residences, writes a token."""
    plays = [play(make(), stream) for stream in streams]
    residence = sorted(held * 1000 for played in plays for held in played.residence)
    engine = sum(jitter(played.arrived) for played in plays) / len(plays) * 1000
    delivered = sum(jitter(played.released) for played in plays) / len(plays) * 1000
    writes = sum(played.writes for played in plays) / len(residence)
    return engine, delivered, residence, writes


def print_pacer(traces: dict[str, list[Trace]]) -> None:
    """The pacer's own table."""
    print("| trace | jitter: engine | delivered | residence p50 | p99 | max | writes a token |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, streams in traces.items():
        engine, delivered, residence, writes = figures(WAYS["pacer"], streams)
        p50, p99 = (nearest_rank(residence, percent) for percent in (50, 99))
        print(
            f"| {name} | {engine:.1f} | {delivered:.1f} | {p50:.1f} | {p99:.1f} "
            f"| {residence[-1]:.1f} | {writes:.2f} |"
        )


def print_comparison(traces: dict[str, list[Trace]]) -> None:
    """Delivered jitter and residence p99 of every way."""
    print("| trace | engine | " + " | ".join(WAYS) + " |")
    print("| --- | --- |" + " --- |" * len(WAYS))
    for name, streams in traces.items():
        cells = []
        for make in WAYS.values():
            engine, delivered, residence, _ = figures(make, streams)
            cells.append(f"{delivered:.1f} / {nearest_rank(residence, 99):.0f}")
        print(f"| {name} | {engine:.1f} | " + " | ".join(cells) + " |")


def cost(policy: PacingPolicy, trace: Trace, rounds: int = 5) -> float:
    """CPU microseconds a token, calls of `release` included; the best round."""
    best = math.inf
    for _ in range(rounds):
        pacer, seq = Pacer(policy), 0
        begin = time.process_time()
        for now, tokens in trace:
            while pacer.next_at is not None and pacer.next_at <= now:
                pacer.release(pacer.next_at)
            seq += tokens
            pacer.push(now, seq)
        best = min(best, (time.process_time() - begin) / seq)
    return best * 1e6


def main() -> None:
    """Prints the tables."""
    traces = recorded() | {name: [trace] for name, trace in generated().items()}
    print_pacer(traces)
    print()
    print_comparison({name: traces[name] for name in COMPARED})
    print("\n| cost, us a token | |\n| --- | --- |")
    smooth = constant(0.020, 50_000)
    print(f"| smooth engine | {cost(PacingPolicy(), smooth):.2f} |")
    print(f"| off | {cost(PacingPolicy('off'), smooth):.2f} |")
    bursty = generated()["bursts_2_to_8_every_40ms"]
    print(f"| bursts of 2 to 8 | {cost(PacingPolicy(), bursty):.2f} |")


if __name__ == "__main__":
    main()
