"""The logs of a broker, as its settings have them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from inventory.settings import Settings
from stream_broker.log.base import Claim
from stream_broker.log.keys import KeySpace
from stream_broker.logs import build_logs
from tests.proof.twin import cluster_without_log
from tests.stream_broker.building import JOB

CLAIM = Claim(job_id=JOB, body_hash="h", at=1000.0, by="first")


@pytest.mark.parametrize(("record_ttl", "kept"), [(5.0, False), (50.0, True)])
async def test_no_key_outlives_the_record_of_its_job(
    record_ttl: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(idempotency_ttl=60.0, record_ttl=record_ttl)
    options: Any = SimpleNamespace(
        settings=settings, cluster=cluster_without_log(), redis_password=""
    )
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("time.time", lambda: clock.now)
    metrics: Any = None
    memory = build_logs(options, KeySpace(options.cluster), metrics).memory

    await memory.claim("key", CLAIM, stale_before=0.0)
    clock.now += 10.0
    again = Claim(job_id="another", body_hash="h", at=clock.now, by="second")
    standing = await memory.claim("key", again, stale_before=0.0)

    assert (standing.job_id == JOB) is kept
