"""One job's lines, out of the logs of all processes, a node's journal, or Loki."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from okome.commands import ask_running, paths_of
from okome.errors import OkomeError

# What ties lines without the job's id to it.
_TIES: Final = ("grant_id", "request_id")
_SHOWN_FIRST: Final = (
    "time",
    "level",
    "logger",
    "message",
    "node",
    "worker",
    "job_id",
    "exception",
)
_JOB_ID: Final = re.compile(r"n\d\dw\d+-[0-9A-Za-z]{26}")
_LOKI_MOST: Final = 5000
_TIMEOUT_S: Final = 30.0
_OBEYS: Final = ("stream", "speculative", "control")
_SIGNALS: Final = {"debug": signal.SIGUSR1, "usual": signal.SIGUSR2}


def show_job(inventory: Path | None, job: str, loki: str | None, hours: int, as_json: bool) -> None:
    """Prints the lines. Raises OkomeError where there is no source, or no line."""
    if not _JOB_ID.fullmatch(job):
        raise OkomeError(f"{job!r} is no job id: expected nNNwK- and 26 characters")
    if loki is not None:
        found = of_job(_from_loki(loki, job, hours), job)
        ties = ties_of(found)
        found = of_job((line for tie in ties for line in _from_loki(loki, tie, hours)), job, found)
    else:
        found = of_job(_local(inventory, hours), job)
    if not found:
        raise OkomeError(f"nobody wrote of {job} in the last {hours} h, or its log is elsewhere")
    for line in found:
        print(json.dumps(line, ensure_ascii=False) if as_json else readable(line))


def of_job(
    raw: Iterable[str], job: str, known: Iterable[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The lines of a job, in order of time: those that name it, and those that name a grant or
    a request that these name. What is no JSON object is passed over."""
    lines = [*known, *filter(None, map(_parsed, raw))]
    named = [line for line in lines if job in json.dumps(line)]
    ties = ties_of(named)
    tied = [line for line in lines if any(line.get(tie) in ties for tie in _TIES)]
    unique = {json.dumps(line, sort_keys=True): line for line in [*named, *tied]}
    return sorted(unique.values(), key=lambda line: str(line.get("time")))


def ties_of(lines: Iterable[dict[str, Any]]) -> set[str]:
    """Of these lines the ids by which others belong to the same job."""
    return {str(line[tie]) for line in lines for tie in _TIES if line.get(tie)}


def readable(line: dict[str, Any]) -> str:
    """A line for people."""
    place = str(line.get("node", "?"))
    if "worker" in line:
        place += f"/{line['worker']}"
    rest = " ".join(f"{k}={v}" for k, v in line.items() if k not in _SHOWN_FIRST and v is not None)
    text = f"{line.get('time')} {place} {line.get('level')}: {line.get('message')} {rest}".rstrip()
    return "\n    ".join([text, *str(line.get("exception") or "").splitlines()])


def change_level(inventory: Path | None, target: str, level: str) -> None:
    """Tells every process of NODE[/ROLE] that knows of levels. Raises OkomeError."""
    if level not in _SIGNALS:
        raise OkomeError(f"{level!r} is no level here: expected debug or usual")
    name, _, role = target.partition("/")
    nodes = ask_running(inventory, {"op": "status"})["nodes"]
    pids = [
        node["pid"]
        for node in nodes
        # To others these signals mean other things: HAProxy ends by one.
        if node["name"] == name and node["role"] in _OBEYS and role in ("", node["role"])
    ]
    if not any(pids):
        raise OkomeError(f"{target} runs no broker and no control plane here")
    for pid in filter(None, pids):
        os.kill(pid, _SIGNALS[level])


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "message" in line else None


def _local(inventory: Path | None, hours: int) -> Iterator[str]:
    logs = paths_of(inventory).logs
    if logs.is_dir():
        for path in sorted(logs.glob("*.log*")):
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from file
        return
    if shutil.which("journalctl") is None:
        raise OkomeError(f"no cluster has run here ({logs} is not there), and there is no journal")
    command = ["journalctl", "--output=cat", "--no-pager", f"--since=-{hours}h", "--unit=okome-*"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise OkomeError(f"journalctl: {done.stderr.strip() or done.returncode}")
    yield from done.stdout.splitlines()


def _from_loki(base: str, text: str, hours: int) -> Iterator[str]:
    query = {
        "query": '{unit=~"okome-.+"} |= ' + json.dumps(text),
        "start": str(int((time.time() - hours * 3600) * 1e9)),
        "limit": str(_LOKI_MOST),
        "direction": "forward",
    }
    url = f"{base.rstrip('/')}/loki/api/v1/query_range"
    try:
        answer = httpx.get(url, params=query, timeout=_TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
        streams = answer.json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise OkomeError(f"Loki at {base}: {error}") from error
    for stream in streams:
        for _, line in stream["values"]:
            yield line
