"""Life and death of the real cluster's processes."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.eventually import eventually

pytestmark = pytest.mark.cluster

ROLES = {"ingress", "stream", "control", "core_gpu", "redis", "cache", "observability"}


def test_status_says_what_scripts_rely_on(cluster: Cluster) -> None:
    status = cluster.status()

    assert status["url"] == cluster.url
    assert status["api_key"] == cluster.api_key
    assert status["durability"] in ("local", "none")
    assert {node["role"] for node in status["nodes"]} <= ROLES
    for node in status["nodes"]:
        assert {"name", "role", "address", "port", "pid", "healthy", "state"} <= node.keys()
        assert node["healthy"], node
        assert node["state"] == "up"
    brokers = [node["name"] for node in status["nodes"] if node["role"] == "stream"]
    assert brokers == [f"okome-node-0{number}" for number in (3, 4, 5, 6)]


@pytest.mark.parametrize("name", ["okome-node-05", "okome-control", "okome-node-01"])
def test_a_killed_process_comes_back_with_a_new_pid(cluster: Cluster, name: str) -> None:
    old = cluster.node(name)["pid"]
    began = time.monotonic()

    os.kill(old, signal.SIGKILL)

    eventually(lambda: cluster.node(name)["pid"] not in (old, None))
    assert time.monotonic() - began < 2
    eventually(lambda: cluster.node(name)["healthy"], within=10)


def test_a_killed_redis_comes_back_with_its_data(cluster: Cluster) -> None:
    if cluster.status()["durability"] != "local":
        pytest.skip("redis-server is not installed")
    job = create_job(cluster)
    eventually(lambda: read_job(cluster, job)["status"] == "completed", within=30)
    before = read_job(cluster, job)

    old = cluster.node("okome-redis")["pid"]
    os.kill(old, signal.SIGKILL)
    eventually(lambda: cluster.node("okome-redis")["pid"] not in (old, None))

    eventually(lambda: read_job(cluster, job, by="okome-node-06").get("text") == before["text"], 10)


def test_a_stopped_broker_stays_down_until_it_is_started(cluster: Cluster) -> None:
    cluster.stop("okome-node-04")
    try:
        node = cluster.node("okome-node-04")
        assert (node["state"], node["pid"], node["healthy"]) == ("stopped", None, False)
        for number in range(8):
            # Nobody notices: other keys land on the same ring.
            answer = httpx.get(
                f"{cluster.url}/healthz", headers={"Authorization": f"{number}"}, trust_env=False
            )
            assert answer.status_code == 200
    finally:
        cluster.start("okome-node-04")
    node = cluster.node("okome-node-04")
    assert (node["state"], node["healthy"]) == ("up", True)


def test_a_drained_broker_ends_and_comes_back(cluster: Cluster) -> None:
    cluster.drain("okome-node-06")
    try:
        eventually(lambda: cluster.node("okome-node-06")["state"] == "stopped", within=15)
    finally:
        cluster.start("okome-node-06")
    assert cluster.node("okome-node-06")["healthy"]


def test_the_sign_in_link_is_for_the_browser(cluster: Cluster) -> None:
    address, _, token = cluster.enter_url.partition("/#enter=")

    assert address in (cluster.local_url, cluster.broker_url("okome-node-03"))
    assert token.count(".") == 2


def test_a_second_up_says_that_it_runs(cluster: Cluster) -> None:
    done = cluster.run("up", "--detach")

    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert cluster.status()["nodes"]


def create_job(cluster: Cluster) -> str:
    answer = httpx.post(
        f"{cluster.broker_url('okome-node-03')}/v1/jobs",
        headers={"Authorization": f"Bearer {cluster.api_key}"},
        json={"model": "smollm2:135m", "prompt": "Say hello.", "max_tokens": 8},
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def read_job(cluster: Cluster, job: str, by: str = "okome-node-03") -> dict[str, object]:
    answer = httpx.get(
        f"{cluster.broker_url(by)}/v1/jobs/{job}",
        headers={"Authorization": f"Bearer {cluster.api_key}"},
        trust_env=False,
    )
    body: dict[str, object] = answer.json()
    return body
