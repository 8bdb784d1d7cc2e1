"""vLLM's router (Rust), as the vLLM project publishes it on PyPI."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import NO_FLOOD, PROXY, Ground, Peer, engine_url
from bench.spec import Target

VERSION = "0.1.17"


def _program(cache: Path) -> Path:
    return cache / f"vllm-router-{VERSION}" / "bin" / "vllm-router"


def _missing(cache: Path) -> str | None:
    return None if _program(cache).exists() else "vllm-router is not installed (scripts/bench)"


def _start(ground: Ground) -> Target:
    ground.proxy(
        "vllm-router",
        str(_program(ground.cache)),
        *("--worker-urls", engine_url()),
        *("--host", PROXY[0], "--port", str(PROXY[1])),
        *("--prometheus-host", PROXY[0], "--prometheus-port", str(PROXY[1] + 1)),
        # One engine: nothing to choose, so the cheapest way of choosing.
        *("--policy", "round_robin", "--log-level", "error"),
        *("--max-concurrent-requests", "20000", "--request-timeout-secs", "3600"),
        *("--worker-startup-check-interval", "1"),
    )
    return Target(*PROXY)


PEER = Peer("vllm-router", "vllm-router", _start, lambda _: VERSION, _missing, NO_FLOOD)
