"""A person's account through the ingress: in by password, out everywhere."""

from __future__ import annotations

import json
import subprocess

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

PASSWORD = "correct horse battery"
# What the issue promises of a revocation.
EVERYWHERE_S = 5.0


@pytest.fixture
def user(cluster: Cluster) -> str:
    """A user with a password, made by command."""
    name = "ada"
    done = subprocess.run(
        cluster.command("user", "add", name, "--stdin", "--json"),
        env=cluster.environment,
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["name"] == name
    return name


async def test_a_login_counts_on_every_broker_until_it_is_ended_everywhere(
    cluster: Cluster, user: str
) -> None:
    origin = {"Origin": cluster.url}
    async with httpx.AsyncClient(base_url=cluster.url, timeout=30, trust_env=False) as browser:
        signed_in = await browser.post("/auth/login", json={"name": user, "password": PASSWORD})
        token = signed_in.json()["token"]
        assert (await browser.get("/v1/models")).status_code == 200
        renewed = await browser.post("/auth/refresh", headers=origin)
        assert renewed.status_code == 200
        tokens = [token, renewed.json()["token"]]
        for each in tokens:
            assert await accepted(cluster, each) == [200] * 4
        logins = json.loads(cluster.okome("session", "list", "--user", user, "--json"))
        assert len(logins["logins"]) == 1
        left = await browser.post("/auth/logout", headers=origin, json={"everywhere": True})
        assert left.status_code == 204
        for each in tokens:

            async def refused(token: str = each) -> bool:
                return await accepted(cluster, token) == [401] * 4

            await eventually_async(refused, within=EVERYWHERE_S)
        assert (await browser.post("/auth/refresh", headers=origin)).status_code == 401


async def test_a_new_signing_key_ends_nobodys_session(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(base_url=cluster.url, timeout=30, trust_env=False) as client:
        before = (await client.post("/auth/token", headers=headers)).json()["token"]
        cluster.okome("key", "rotate-signing")
        after = (await client.post("/auth/token", headers=headers)).json()["token"]
    for token in (before, after):
        assert await accepted(cluster, token) == [200] * 4


async def test_the_admin_api_is_not_for_the_outside(cluster: Cluster) -> None:
    key = (cluster.state_dir / "credentials" / "admin_key").read_text()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=cluster.url, headers=headers, trust_env=False) as client:
        assert (await client.get("/internal/v1/admin/users")).status_code == 404


async def accepted(cluster: Cluster, token: str) -> list[int]:
    """What each broker answers to a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        return [
            (await client.get(f"{cluster.broker_url(f'okome-node-0{n}')}/v1/models")).status_code
            for n in (3, 4, 5, 6)
        ]
