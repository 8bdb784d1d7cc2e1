from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.problems import ProblemError
from stream_broker import acceptance as module
from stream_broker.abandoned import Abandoned
from stream_broker.acceptance import Acceptance, Accepted, affinity_of
from stream_broker.authn import Principal
from stream_broker.directory import Directory
from stream_broker.ids import Home, home_of
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.policy import PolicyHolder
from stream_broker.requests import JobSpec, job_spec
from tests.stream_broker.building import API_KEY, HOME, NOW, USER
from tests.stream_broker.parts import Parts, running

ALICE = Principal(USER, "free", ("generate",), API_KEY)
BOB = Principal("user-2", "free", ("generate",), "ok_bob")
SPEC = job_spec({"model": "small", "prompt": "hi", "max_tokens": 9}, 4096)
SYSTEM, FIRST = {"role": "system", "content": "s"}, {"role": "user", "content": "a"}
OTHER = job_spec({"model": "small", "prompt": "ho"}, 4096)


class Door:
    """The way in of one broker; `redis` is the log that it shares with others."""

    def __init__(self, parts: Parts, redis: RedisLog | None = None, home: Home = HOME) -> None:
        self.parts = parts
        control: Any = parts.control
        self.policy = PolicyHolder(control, parts.monotonic, poll=2.0)
        self.directory = Directory(home, parts.runner, parts.log, redis, None, parts.playout)
        self.abandoned = None
        if redis is not None:
            self.abandoned = Abandoned(redis, parts.spool, home, "node", parts.clock)
        self.acceptance = Acceptance(
            parts.settings,
            home,
            f"p-{home}",
            "node",
            control,
            self.policy,
            parts.runner,
            self.directory,
            parts.log,
            redis,
            self.abandoned,
            parts.clock,
        )

    async def accept(
        self,
        key: str | None = None,
        *,
        who: Principal = ALICE,
        spec: JobSpec = SPEC,
        route: str = "jobs",
    ) -> Accepted:
        return await self.acceptance.accept(who, spec, key, route)

    async def refusal(self, **asked: Any) -> str:
        with pytest.raises(ProblemError) as refused:
            await self.accept(**asked)
        return refused.value.code


@pytest.fixture
async def door(parts: Parts) -> Door:
    door = Door(parts)
    await door.policy.refresh()
    return door


@pytest.fixture
async def doors(tmp_path: Path, redis_log: RedisLog) -> AsyncIterator[tuple[Door, Door]]:
    """Two brokers that share a log."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "a", redis_log) as a, running(tmp_path / "b", redis_log) as b:
        yield Door(a, redis_log), Door(b, redis_log, Home(4, 0))


async def test_a_job_is_granted_recorded_and_started(door: Door) -> None:
    accepted = await door.accept()
    head = accepted.state.head
    assert not accepted.replayed
    assert home_of(head.job_id) == HOME
    assert head.job_id in door.parts.runner.jobs
    (asked,) = door.parts.control.asked
    assert (asked.credential, asked.request.max_tokens) == (API_KEY, 9)
    assert (await door.directory.state(head.job_id, USER)).head == head


async def test_the_same_key_is_the_same_job(door: Door) -> None:
    first, again = await door.accept("k"), await door.accept("k")
    assert again.replayed
    assert again.state.head.job_id == first.state.head.job_id
    assert len(door.parts.control.asked) == 1


async def test_the_same_key_with_another_body_is_refused(door: Door) -> None:
    await door.accept("k")
    assert await door.refusal(key="k", spec=OTHER) == "idempotency_key_reused"


@pytest.mark.parametrize("other", [{"who": BOB}, {"route": "ws"}, {"key": "l"}])
async def test_another_user_route_or_key_is_another_job(door: Door, other: dict[str, Any]) -> None:
    first = await door.accept("k")
    second = await door.accept(**{"key": "k"} | other)
    assert not second.replayed
    assert second.state.head.job_id != first.state.head.job_id


async def test_many_at_once_with_one_key_start_one_job(doors: tuple[Door, Door]) -> None:
    accepted = await asyncio.gather(*(doors[n % 2].accept("k") for n in range(10)))
    assert len({found.state.head.job_id for found in accepted}) == 1
    assert [found.replayed for found in accepted].count(False) == 1
    assert sum(len(door.parts.control.asked) for door in doors) == 1


async def test_a_refused_grant_gives_the_key_back(door: Door) -> None:
    door.parts.control.refusal = ProblemError("quota_exceeded", "x")
    assert await door.refusal(key="k") == "quota_exceeded"
    door.parts.control.refusal = None
    assert not (await door.accept("k", spec=OTHER)).replayed


@pytest.mark.parametrize("was_away", [False, True])
async def test_a_claim_whose_broker_died_is_taken_up_under_the_same_job(
    doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch, was_away: bool
) -> None:
    dead, alive = doors
    alive.directory._was_away = lambda _job, _at: was_away

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(dead.parts.control, "grant", die)
    with pytest.raises(asyncio.CancelledError):
        await dead.accept("k")

    async def later(_: float) -> None:
        alive.parts.clock.now += 1

    monkeypatch.setattr(module.asyncio, "sleep", later)
    accepted = await alive.accept("k")
    assert not accepted.replayed
    assert home_of(accepted.state.head.job_id) == HOME
    assert alive.parts.clock.now >= NOW + module.STALE_CLAIM_S


async def test_a_key_is_never_taken_without_the_store_of_claims(
    doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch, redis_log: RedisLog
) -> None:
    monkeypatch.setattr(redis_log, "claim", _away)
    assert await doors[0].refusal(key="k") == "log_unavailable"
    assert doors[0].parts.control.asked == []


async def _away(*_: object, **__: object) -> None:
    raise LogUnavailable("away")


async def test_a_job_whose_record_cannot_be_made_lives_in_memory_under_an_id_of_its_own(
    doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch, redis_log: RedisLog
) -> None:
    made: list[str] = []

    async def answer_lost(head: Any) -> int:
        made.append(head.job_id)
        await create(head)
        raise LogUnavailable("the answer was lost")

    create: Callable[[Any], Awaitable[int]] = redis_log.create
    monkeypatch.setattr(redis_log, "create", answer_lost)
    accepted = await doors[0].accept()
    head = accepted.state.head
    assert head.durability == "none"
    assert made != [head.job_id]
    await doors[0].parts.engines.stream()
    watch = await doors[0].directory.watch(head.job_id, USER, 0)
    async with asyncio.timeout(5):
        (notice,) = await watch.feed.next(60)
    assert notice.body()["code"] == "not_resumable"
    assert len(doors[0].abandoned or ()) == 1


async def test_a_job_with_a_key_is_refused_when_its_record_cannot_be_made(
    doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch, redis_log: RedisLog
) -> None:
    monkeypatch.setattr(redis_log, "create", _away)
    assert await doors[0].refusal(key="k") == "log_unavailable"
    assert doors[0].parts.runner.jobs == {}
    assert len(doors[0].abandoned or ()) == 1


async def test_while_the_control_plane_is_away_the_last_policy_decides(door: Door) -> None:
    door.parts.control.away = True
    door.parts.monotonic.now = 299.0
    accepted = await door.accept()
    assert accepted.state.head.grant.degraded_until == NOW + 1
    door.parts.monotonic.now = 300.0
    assert await door.refusal() == "control_plane_unavailable"


async def test_alone_a_broker_counts_the_streams_of_its_users(door: Door) -> None:
    await door.policy.refresh()
    door.parts.control.away = True
    for _ in range(5):
        await door.accept()
    assert await door.refusal() == "too_many_streams"
    assert (await door.accept(who=BOB)).state.head.user_id == BOB.user_id


async def test_a_draining_broker_takes_nothing_new(door: Door) -> None:
    door.acceptance.draining = True
    assert await door.refusal() == "draining"


async def test_a_full_broker_takes_nothing_new(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    async with running(tmp_path / "full", jobs_per_broker=1) as parts:
        door = Door(parts)
        await door.accept()
        assert await door.refusal() == "overloaded"


async def test_a_credential_without_the_scope_may_not_generate(door: Door) -> None:
    assert await door.refusal(who=Principal(USER, "free", ("keys",), "ok_k")) == "scope_missing"


def test_the_requests_of_a_conversation_ask_for_the_same_engine() -> None:
    def affinity(user: str = "u", **changes: Any) -> str:
        body = {"model": "small", "messages": [SYSTEM, FIRST]} | changes
        return affinity_of(user, job_spec(body, 4096))

    later = [SYSTEM, FIRST, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert affinity() == affinity(messages=later)
    assert affinity(session_id="s") == affinity(session_id="s", messages=later[1:])
    others = [
        affinity(),
        affinity("v"),
        affinity(model="big"),
        affinity(session_id="s"),
        affinity(messages=[SYSTEM, {"role": "user", "content": "x"}]),
        affinity(messages=[FIRST]),
    ]
    assert len(set(others)) == len(others)


def test_images_are_told_of_and_not_shown() -> None:
    seen = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    for content, vision in ((seen, True), (seen[:1], False), ("a", False)):
        messages = [{"role": "user", "content": content}]
        assert job_spec({"model": "m", "messages": messages}, 4096).vision is vision


TOOLED = job_spec({"model": "small", "prompt": "hi", "tools": ["time"]}, 4096)


async def test_tools_are_asked_for_by_name(door: Door) -> None:
    await door.accept(spec=TOOLED)
    (asked,) = door.parts.control.asked
    assert (asked.request.server_tools, asked.request.tools) == (["time"], False)


async def test_while_the_control_plane_is_away_only_jobs_without_its_tools_begin(
    door: Door,
) -> None:
    await door.policy.refresh()
    door.parts.control.away = True
    assert await door.refusal(spec=TOOLED) == "control_plane_unavailable"
    assert not (await door.accept()).replayed
