"""What is run, as data: how many streams, how fast, for how long."""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["steady", "short", "openings", "silent", "frozen", "flood"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One load. Seconds: `ramp` to open all streams, `window` measured after that.

    `rate` is tokens a second and stream (0: as fast as they are taken), in bursts of
    `burst`. `tokens` 0 runs until the window is over. `limit` bounds each wait: for the
    first tokens and for the last.
    """

    name: str
    title: str
    mode: Mode = "steady"
    streams: int
    rate: float
    burst: int = 1
    tokens: int = 0
    ramp: float = 1.0
    window: float = 10.0
    limit: float = 30.0

    def quick(self) -> Workload:
        """The same on a small scale, to see that it works: its figures mean little."""
        fewer = {"silent": 10, "frozen": 20, "flood": 20, "openings": 5, "short": 5}
        part = fewer.get(self.mode, 1)
        return msgspec.structs.replace(
            self,
            streams=max(1, self.streams // part),
            window=min(self.window, 2.0),
            ramp=self.ramp / min(part, 2),
            limit=10.0,
        )


# W1 to W6 are those of the project's first measurements of peers.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="W1", title="100 streams x 50 tokens/s", streams=100, rate=50),
        Workload(name="W2", title="500 streams x 20 tokens/s", streams=500, rate=20),
        Workload(name="W3", title="1,000 streams x 10 tokens/s", streams=1000, rate=10, ramp=2),
        Workload(
            name="W4",
            title="200 answers of 8 tokens, one and sixteen at a time",
            mode="short",
            streams=200,
            rate=200,
            tokens=8,
        ),
        Workload(
            name="asks",
            title="2,000 answers of one token, one and sixteen at a time",
            mode="short",
            streams=2000,
            rate=0,
            tokens=1,
        ),
        Workload(
            name="W5",
            title="200 streams, engine unthrottled",
            streams=200,
            rate=0,
            window=5,
        ),
        Workload(name="W6", title="200 streams x 300 tokens/s", streams=200, rate=300),
        Workload(
            name="bursts",
            title="100 streams, 4 tokens every 80 ms",
            streams=100,
            rate=50,
            burst=4,
        ),
        Workload(
            name="openings",
            title="1,000 streams opened within a second",
            mode="openings",
            streams=1000,
            rate=10,
            tokens=20,
        ),
        Workload(
            name="entries",
            title="1,000 streams opened within a second that say one token",
            mode="openings",
            streams=1000,
            rate=1,
        ),
        Workload(
            name="silent",
            title="5,000 streams that say nothing after the first token",
            mode="silent",
            streams=5000,
            rate=1,
            ramp=10,
            window=2,
        ),
        Workload(
            name="frozen",
            title="1,000 readers that stop reading answers of 10,000 tokens",
            mode="frozen",
            streams=1000,
            rate=0,
            tokens=10_000,
            ramp=5,
            window=10,
            limit=400,
        ),
        Workload(
            name="flood",
            title="20 streams x 20 tokens/s beside 1,000 whose engine is unthrottled",
            mode="flood",
            streams=1000,
            rate=0,
            ramp=10,
            window=10,
            limit=60,
        ),
    )
}
