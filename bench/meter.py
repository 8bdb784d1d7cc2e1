"""What the streams of one load have in common: the samples that they take. Pure."""

from __future__ import annotations

from array import array
from typing import Any

from bench.stats import jitter, spread


class Meter:
    """Collects while `recording`; times to first token always. All in nanoseconds."""

    __slots__ = ("gaps", "latencies", "reads", "recording", "tokens", "ttft")

    def __init__(self) -> None:
        self.recording = False
        self.clear()

    def clear(self) -> None:
        """Forgets every sample."""
        self.latencies = array("q")
        self.gaps = array("q")
        self.ttft = array("q")
        self.tokens = 0
        self.reads = 0

    def take(self, sent: list[int], now: int, before: int) -> None:
        """Tokens sent at these times came together at `now`, the last ones `before`."""
        self.tokens += len(sent)
        if not self.recording:
            return
        self.reads += 1
        self.latencies.extend([now - at for at in sent])
        if before:
            self.gaps.append(now - before)
            if len(sent) > 1:
                self.gaps.extend([0] * (len(sent) - 1))

    def summary(self) -> dict[str, Any]:
        """Added latency, gaps between tokens as delivered, times to first token."""
        return {
            "latency": spread(self.latencies),
            "gaps": jitter(self.gaps),
            "ttft": spread(self.ttft),
            "tokens_per_read": len(self.latencies) / self.reads if self.reads else None,
        }
