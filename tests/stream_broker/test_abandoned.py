from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.grants import Usage
from stream_broker import abandoned as module
from stream_broker.abandoned import Abandoned
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.settlements import SettlementSpool
from stream_broker.tasks import end
from tests.stream_broker.building import HOME, JOB, KEYS, Clock, append, grant, head, tokens
from tests.stream_broker.parts import ScriptedControl
from tests.support.eventually import eventually_async


class Place:
    """The unanswered records of a broker, over a log that others share."""

    def __init__(self, state: Path, log: RedisLog) -> None:
        control: Any = ScriptedControl()
        self.log = log
        self.spool = SettlementSpool(state / "spool", control, max_bytes=1 << 20)
        self.abandoned = Abandoned(log, self.spool, HOME, "node", Clock())

    async def resolved(self) -> None:
        await eventually_async(lambda: not len(self.abandoned))


@pytest.fixture
async def place(
    tmp_path: Path, redis_log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    place = Place(tmp_path, redis_log)
    task = asyncio.create_task(place.abandoned.run())
    yield place
    assert not task.done()
    await end([task])
    place.spool.close()


async def test_a_record_that_was_made_all_the_same_is_taken_back(place: Place) -> None:
    await place.log.create(head())
    place.abandoned.replaced(head())
    await place.resolved()
    assert await place.log.state(JOB) is None
    assert await place.log.orphans(KEYS.tags[0], -60.0) == []
    assert len(place.spool) == 0


async def test_one_that_somebody_runs_already_is_cancelled(place: Place) -> None:
    await place.log.create(head())
    await place.log.append([append(tokens(1, 1))])
    place.abandoned.replaced(head())
    await place.resolved()
    assert await place.log.cancelled(JOB)


async def test_while_the_log_is_away_it_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def away(*_: object) -> bool:
        asked.set()
        raise LogUnavailable("away")

    await place.log.create(head())
    with monkeypatch.context() as patched:
        patched.setattr(place.log, "discard", away)
        place.abandoned.replaced(head())
        async with asyncio.timeout(5):
            await asked.wait()
        assert len(place.abandoned) == 1
    await place.resolved()
    assert await place.log.state(JOB) is None


async def test_what_a_refused_job_had_reserved_is_given_back(place: Place) -> None:
    place.abandoned.refused(head())
    await place.resolved()
    (settlement,) = place.spool.waiting
    assert (settlement.grant_id, settlement.lease_id) == ("g-1", "l-1")
    assert settlement.usage == Usage()
    assert settlement.job_id != JOB


async def test_a_repetition_under_another_grant_leaves_the_first_ones_to_be_given_back(
    place: Place,
) -> None:
    other = msgspec.structs.replace(grant(), grant_id="g-2")
    await place.log.create(head(grant=other))
    place.abandoned.refused(head())
    await place.resolved()
    assert [settlement.grant_id for settlement in place.spool.waiting] == ["g-1"]
    assert await place.log.state(JOB) is not None


async def test_a_record_that_a_repetition_will_find_keeps_its_grant(place: Place) -> None:
    await place.log.create(head())
    place.abandoned.refused(head())
    await place.resolved()
    assert len(place.spool) == 0
    assert await place.log.state(JOB) is not None
