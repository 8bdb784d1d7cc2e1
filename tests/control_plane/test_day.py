"""A short day of use with a kill in it: the usage log has every job, once and to the token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.control_process import ControlProcess, HealthyEngine
from tests.torture.day import Day, Options


@pytest.fixture
def control(tmp_path: Path, url: URL) -> Iterator[ControlProcess]:
    engine = HealthyEngine()
    database = url if url.get_backend_name() == "postgresql" else None
    control = ControlProcess(tmp_path, engine.port, database)
    yield control
    control.kill()
    engine.close()


def test_a_day_of_use_is_in_the_log_to_the_token(control: ControlProcess) -> None:
    day = Day(control, Options(jobs=150, seconds=4.0, kills=1, users=3))
    assert asyncio.run(day.run()) == []
    assert {job.way for job in day.jobs} > {"completed", "moved", "twice"}
    assert any(job.alone for job in day.jobs)
    assert not all(job.alone for job in day.jobs)
