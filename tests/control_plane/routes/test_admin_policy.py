"""A policy file in a running control plane: grants, the snapshot, and what an admin is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.policy_source import PolicySource
from tests.control_plane.conftest import Start
from tests.control_plane.harness import Clock, Harness, cluster
from tests.control_plane.test_policy_reading import GOOD

# The built-in user's tier, so that it counts as itself.
STANDARD = GOOD.replace("  pro:", "  standard: {max_tokens: 100, streams: 1}\n  pro:")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text(STANDARD)
    return path


@pytest.fixture
async def plane(start: Start, file: Path, clock: Clock) -> AsyncIterator[Harness]:
    async with start(policy=PolicySource(cluster(), file, clock)) as harness:
        yield harness


def _rewrite(file: Path, part: str, other: str) -> None:
    text = file.read_text()
    assert part in text
    file.write_text(text.replace(part, other))


async def change(plane: Harness, file: Path, part: str, other: str) -> None:
    _rewrite(file, part, other)
    await plane.plane.look_at_policy()


async def snapshot(plane: Harness) -> dict[str, Any]:
    found: dict[str, Any] = (await plane.internal("GET", "/policy")).json()
    return found


async def test_a_job_may_name_an_alias_and_the_engine_gets_its_own_name(plane: Harness) -> None:
    grant = (await plane.grant(model="default")).json()
    assert (grant["engine"]["name"], grant["engine"]["model"]) == ("vllm@gpu-a", "small")
    assert grant["pacing"]["mode"] == "off"
    assert (await plane.grant(model="small")).json()["code"] == "unknown_model"
    assert (await plane.grant(model="tiny")).json()["code"] == "model_not_allowed"


async def test_a_wish_beyond_the_policy_is_made_smaller_and_the_client_told(
    plane: Harness,
) -> None:
    grant = (await plane.grant(model="chat", max_tokens=500)).json()
    assert grant["limits"]["max_tokens"] == 100
    (notice,) = grant["notices"]
    assert (notice["code"], "100 tokens" in notice["message"]) == ("limited", True)
    await plane.settle(grant_id=grant["grant_id"], lease_id=grant["lease"]["id"])
    grant = (await plane.grant(model="chat")).json()
    assert (grant["limits"]["max_tokens"], grant["notices"]) == (100, [])


async def test_streams_are_the_policys_until_the_database_says_others(plane: Harness) -> None:
    assert (await plane.grant(model="chat")).status_code == 200
    assert (await plane.grant(model="chat")).json()["code"] == "too_many_streams"
    assert (await snapshot(plane))["tiers"]["standard"]["streams"] == 1
    await plane.admin("PATCH", "/tiers/standard", json={"streams": 2})
    assert (await plane.grant(model="chat")).status_code == 200
    assert (await snapshot(plane))["tiers"]["standard"]["streams"] == 2


async def test_users_can_be_of_every_tier_of_the_policy(plane: Harness, file: Path) -> None:
    async def add(name: str, tier: str) -> int:
        body = {"name": name, "tier": tier}
        return (await plane.admin("POST", "/users", json=body)).status_code

    assert await add("ada", "pro") == 201
    assert await add("bob", "gold") == 400
    await change(plane, file, "  pro:", "  gold:\n  pro:")
    assert await add("bob", "gold") == 201


async def test_the_snapshot_says_all_that_brokers_need_and_changes_with_the_file(
    plane: Harness, file: Path
) -> None:
    before = await snapshot(plane)
    assert before["aliases"] == {"default": "chat", "best": "chat"}
    assert before["default_tier"] == "free"
    assert before["tiers"]["free"] == {"max_tokens": 512, "streams": 2}
    chat, tiny = before["models"]
    assert (chat["id"], chat["server_tools"], chat["capabilities"]) == (
        "chat",
        ["time", "weather"],
        ["tools"],
    )
    assert (chat["tools"], chat["pacing"], tiny["tiers"]) == (True, "off", ["free", "pro"])
    await change(plane, file, "best: chat", "best: tiny")
    after = await snapshot(plane)
    assert after["version"] != before["version"]
    assert after["aliases"] == {"default": "tiny", "best": "tiny"}


async def test_engines_come_and_go_with_the_policy_and_keep_what_is_known(
    plane: Harness, file: Path
) -> None:
    await plane.put_down("b.test")
    watched = plane.plane.engines.states
    assert list(watched) == ["http://a.test:1/health", "http://b.test:1/api/version"]
    assert not watched["http://b.test:1/api/version"].healthy
    gone = "      - {engine: vllm@gpu-a, model: small}\n"
    await change(plane, file, gone, "      - {engine: tf_serving@gpu-a}\n")
    watched = plane.plane.engines.states
    assert set(watched) == {"http://a.test:1/v1/models/chat", "http://b.test:1/api/version"}
    assert not watched["http://b.test:1/api/version"].healthy
    metrics = (await plane.client.get("/metrics")).text
    assert 'engine_up{engine="http://a.test:1/health"}' not in metrics
    assert 'engine_up{engine="http://a.test:1/v1/models/chat"}' in metrics


async def test_usage_is_that_of_the_model_behind_an_alias(plane: Harness, file: Path) -> None:
    async def models() -> set[str]:
        answer = await plane.admin("GET", "/usage/jobs", params={"month": "2027-01"})
        return {job["model"] for job in answer.json()["jobs"]}

    grant = (await plane.grant(model="default")).json()
    await plane.settle(model="default")
    assert await models() == {"chat"}
    metrics = (await plane.client.get("/metrics")).text
    assert 'okome_control_tokens_total{kind="completion",model="chat"} 5.0' in metrics
    # What it led to when the job was granted, wherever it leads now.
    await change(plane, file, "best: chat", "best: tiny")
    ids = {"grant_id": grant["grant_id"], "lease_id": grant["lease"]["id"]}
    await plane.settle(model="default", job_id="n03w0-2", **ids)
    assert await models() == {"chat"}
    await plane.settle(model="default", job_id="n03w0-3")
    assert await models() == {"chat", "tiny"}


async def test_an_admin_sees_what_holds_and_what_is_refused(plane: Harness, file: Path) -> None:
    plane.plane.policy._clock.now += 60  # type: ignore[attr-defined]
    shown = (await plane.admin("GET", "/policy")).json()
    assert (shown["source"], shown["age_s"], shown["faults"]) == (str(file), 60, [])
    assert shown["policy"]["aliases"]["best"] == "chat"
    assert (await plane.client.get("/readyz")).json() == {"status": "ready"}

    await change(plane, file, "best: chat", "best: nobody")
    shown = (await plane.admin("GET", "/policy")).json()
    assert shown["policy"]["aliases"]["best"] == "chat"
    (fault,) = shown["faults"]
    assert fault.startswith(f"{file}:17: aliases.best: no model or alias is called 'nobody'")
    ready = await plane.client.get("/readyz")
    assert (ready.status_code, ready.json()["policy_refused"]) == (200, [fault])
    assert (await plane.grant(model="best")).status_code == 200


async def test_an_admin_sees_what_a_file_would_change(plane: Harness) -> None:
    async def diff(text: str) -> dict[str, Any]:
        body = {"file": "new.yml", "text": text}
        found: dict[str, Any] = (await plane.admin("POST", "/policy/diff", json=body)).json()
        return found

    assert (await diff(STANDARD))["changes"] == []
    (found,) = (await diff(STANDARD.replace("best: chat", "best: tiny")))["changes"]
    assert found == {
        "path": "aliases.best",
        "change": "changed",
        "before": "chat",
        "after": "tiny",
    }
    refused = await diff("version: 1")
    assert (refused["changes"], refused["faults"]) == ([], ["new.yml:1: `models` is missing"])
    assert (await plane.grant(model="best")).status_code == 200


async def test_the_policy_is_shown_to_the_admin_only(plane: Harness) -> None:
    assert (await plane.call("GET", "/internal/v1/admin/policy")).status_code == 401
    assert (await plane.internal("GET", "/admin/policy")).status_code == 401
