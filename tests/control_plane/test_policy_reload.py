"""The real process takes a policy file over while it serves, and refuses a bad one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.control_plane.harness import ADMIN_KEY, SERVICE_KEY
from tests.support.control_process import MODEL, ControlProcess, HealthyEngine
from tests.support.eventually import eventually

POLICY = f"""
version: 1
models: {{chat: {{engines: [{{engine: vllm, model: {MODEL}}}]}}}}
aliases: {{default: chat}}
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ControlProcess]:
    engine = HealthyEngine()
    control = ControlProcess(tmp_path, engine.port)
    control.policy.write_text(POLICY)
    try:
        control.start()
        yield control
    finally:
        control.kill()
        engine.close()


def test_a_file_is_taken_over_or_refused_while_the_process_serves(
    process: ControlProcess,
) -> None:
    service = {"Authorization": f"Bearer {SERVICE_KEY}"}
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=process.url, trust_env=False, timeout=20) as client:
        tag = ""

        def changed() -> dict[str, Any] | None:
            headers = service | {"If-None-Match": tag}
            answer = client.get("/internal/v1/policy", headers=headers)
            return None if answer.status_code == 304 else answer.json()

        def refused() -> list[str]:
            answer = client.get("/internal/v1/admin/policy", headers=admin).json()
            faults: list[str] = answer["faults"]
            return faults

        first = client.get("/internal/v1/policy", headers=service)
        tag = first.headers["etag"]
        assert [model["id"] for model in first.json()["models"]] == ["chat"]
        assert changed() is None

        process.policy.write_text(POLICY.replace("default", "best"))
        assert eventually(changed, 10)["aliases"] == {"best": "chat"}

        tag = client.get("/internal/v1/policy", headers=service).headers["etag"]
        process.policy.write_text(POLICY.replace("engine: vllm", "engine: vlm"))
        (fault,) = eventually(refused, 10)
        assert f"{process.policy}:3: models.chat.engines[0].engine: no engine" in fault
        assert changed() is None

        # A file put back with the time that it had, and one byte another: only asking helps.
        before = process.policy.stat()
        process.policy.write_text(
            POLICY.replace("engine: vllm", "engine: vlm").replace("vlm", "vllm")
        )
        os.utime(process.policy, ns=(before.st_atime_ns, before.st_mtime_ns))
        process.signal(signal.SIGHUP)
        eventually(lambda: not refused(), 10)
        assert eventually(changed, 10)["aliases"] == {"default": "chat"}
