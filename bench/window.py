"""CPU time and tokens between two moments."""

from __future__ import annotations

import time
from typing import Any

from bench.meter import Meter
from bench.spec import LoadSpec
from bench.usage import cpu_seconds


class Window:
    """Begins when it is made; `close` says what happened since."""

    def __init__(self, spec: LoadSpec, meter: Meter) -> None:
        self._spec = spec
        self._meter = meter
        self._cpu = cpu_seconds(spec.measured)
        self._harness = cpu_seconds(spec.harness)
        self._beside = cpu_seconds(spec.beside)
        self._tokens = meter.tokens
        self._began = time.monotonic()

    def close(self) -> dict[str, Any]:
        """`cpu_s` by process, and what follows from it; `beside_s` of what helps.

        `harness_share` near 1 says that the load itself was the limit: then only the CPU
        time a token means something."""
        seconds = time.monotonic() - self._began
        tokens = self._meter.tokens - self._tokens
        cpu = _since(self._cpu, cpu_seconds(self._spec.measured))
        total = sum(cpu.values())
        harness = sum(_since(self._harness, cpu_seconds(self._spec.harness)).values())
        return {
            "seconds": seconds,
            "tokens": tokens,
            "tokens_per_s": tokens / seconds,
            "cpu_s": cpu,
            "beside_s": _since(self._beside, cpu_seconds(self._spec.beside)),
            "cpu_share": total / seconds,
            "us_per_token": total / tokens * 1e6 if tokens and cpu else None,
            "tokens_per_cpu_s": tokens / total if total else None,
            "harness_share": harness / seconds,
        }


def _since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}
