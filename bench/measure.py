"""One measurement: engine, proxy and load started, one workload run, all of it ended."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.ask import Ask
from bench.control import engine_call
from bench.peers.base import ENGINE, Ground, Peer
from bench.processes import HARNESS_CORE, OURS, BenchError, Processes
from bench.spec import LoadSpec, Target
from bench.workloads import Workload

_START_S = 90.0  # LiteLLM imports for half a minute on a busy machine


def measure(peer: Peer, workload: Workload, cache: Path, seed: int) -> dict[str, Any]:
    """What the load process found. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="okome-bench-") as directory:
        work = Path(directory)
        with Processes(work) as processes:
            ground = Ground(processes, work, cache)
            engine = _start_engine(ground)
            target = peer.start(ground)
            processes.wait(lambda: _complaint(target), _START_S)
            spec = LoadSpec(
                target,
                ENGINE,
                workload,
                ground.measured,
                {"engine": engine},
                seed,
                ground.beside,
            )
            found = _load(spec)
            processes.check()
            return found


def _start_engine(ground: Ground) -> int:
    listen = "{}:{}".format(*ENGINE)
    argv = (sys.executable, "-m", "bench.engine", "--listen", listen)
    pid = ground.processes.start("engine", argv, HARNESS_CORE, OURS)

    def complaint() -> str | None:
        try:
            engine_call(ENGINE, "stats")
        except OSError as error:
            return f"the engine does not answer: {error}"
        return None

    ground.processes.wait(complaint, _START_S)
    return pid


def _complaint(target: Target) -> str | None:
    """What is wrong with a short answer through the proxy; None when it is whole."""
    body = target.request(Ask(0, rate=1000, tokens=3)).partition(b"\r\n\r\n")[2]
    headers = {"Content-Type": "application/json", **target.headers}
    connection = http.client.HTTPConnection(target.address, target.port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    whole = answer.status == 200 and b"!" in said and b"[DONE]" in said
    return None if whole else f"status {answer.status}: {said[:200]!r}"


def _load(spec: LoadSpec) -> dict[str, Any]:
    work = spec.workload
    seconds = 3 * work.limit + work.ramp + 4 * work.window + 60
    try:
        done = subprocess.run(
            ("taskset", "--cpu-list", str(HARNESS_CORE), sys.executable, "-m", "bench.load"),
            input=msgspec.json.encode(spec),
            capture_output=True,
            check=False,
            timeout=seconds,
            env={**os.environ, **OURS},
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the load had not ended after {seconds:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BenchError(f"the load failed: {lines[-1]}")
    return cast(dict[str, Any], json.loads(done.stdout))
