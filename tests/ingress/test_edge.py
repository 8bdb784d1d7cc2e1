"""The ingress of a cluster: TLS, rates, who may hold the VIP. As text, and with a real HAProxy."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ingress import keepalived
from ingress.edge import Edge, Rates
from ingress.haproxy import Limits, render
from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster, Node
from okome.programs import find_program
from tests.ingress.conftest import NET, Ingress, serving
from tests.support.authority import Authority

CLUSTER = LOCAL.with_name("cluster.yml")
HERE = Path(__file__).parent
RATES = Rates(connections=4, requests=20, jobs=3)


def first() -> tuple[Cluster, Node]:
    cluster = load_cluster(CLUSTER)
    return cluster, cluster.role("ingress")[0]


def cluster_config() -> str:
    edge = Edge("/etc/okome/ingress/tls", Rates(connections=256, requests=1000, jobs=120))
    return render(*first(), Limits(job_deadline=600), edge=edge)


GOLDEN = {
    "cluster.cfg": cluster_config,
    "keepalived.conf": lambda: keepalived.render(*first(), "eth0"),
    "check-ingress": lambda: keepalived.check_script(*first()),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_clusters_configuration_is_as_it_was_reviewed(name: str) -> None:
    # After a change that is meant: python -m tests.ingress.test_edge
    assert GOLDEN[name]() == (HERE / name).read_text(encoding="utf-8")


def test_a_vip_that_nobody_shares_has_no_keepalived() -> None:
    cluster = load_cluster(LOCAL)
    with pytest.raises(ValueError, match="no VIP that moves"):
        keepalived.render(cluster, cluster.role("ingress")[0], "lo")


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Ingress]:
    authority = Authority()
    pem = certificate(tmp_path, authority, f"{NET}18")
    text = LOCAL.read_text(encoding="utf-8").replace(
        "okome_stats_port",
        "okome_ingress_tls: true\n    okome_ingress_redirect_port: 8079\n    okome_stats_port",
    )
    socket = str(tmp_path / "admin.sock")
    edge = Edge(str(pem), RATES, socket)
    async with serving(tmp_path, text, edge, authority.believed()) as running:
        yield running


def certificate(directory: Path, authority: Authority, address: str) -> Path:
    """Chain and key in one file, as HAProxy reads them."""
    files = authority.issue(directory / "tls", address=address)
    pem = directory / "ingress.pem"
    pem.write_bytes(files.cert.read_bytes() + files.key.read_bytes())
    return pem


def test_haproxy_accepts_the_cluster_without_a_warning(tmp_path: Path) -> None:
    program = find_program("haproxy", os.environ)
    if program is None:
        pytest.skip("haproxy is not installed")
    pem = certificate(tmp_path, Authority(), "192.168.86.18")
    config = tmp_path / "haproxy.cfg"
    config.write_text(cluster_config().replace("/etc/okome/ingress/tls", str(pem)))
    checked = subprocess.run(
        [program, "-c", "-q", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


async def test_the_front_speaks_h2_and_says_that_it_is_tls(edge: Ingress) -> None:
    edge.verify.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        edge.cluster.vip, edge.cluster.ingress_port, ssl=edge.verify
    )
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()
    answer = await edge.http.get("/v1/models")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["x-frame-options"] == "DENY"


async def test_plain_http_is_sent_to_tls_and_a_post_stays_one(edge: Ingress) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"http://{NET}18:8079/v1/jobs?x=1")
    assert answer.status_code == 308
    assert answer.headers["location"].startswith("https://")
    assert answer.headers["location"].endswith("/v1/jobs?x=1")


async def test_who_asks_for_too_much_is_told_so_and_others_are_not(edge: Ingress) -> None:
    asked = [await edge.http.post("/v1/jobs", headers={"Authorization": "k1"}) for _ in range(5)]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 429, 429]
    assert asked[-1].json()["code"] == "rate_limited"
    assert asked[-1].headers["retry-after"] == "60"
    assert asked[-1].headers["ratelimit-policy"] == '"jobs";q=3;w=60'
    other = await edge.http.post("/v1/jobs", headers={"Authorization": "k2"})
    assert other.status_code == 200


async def test_an_address_may_not_ask_without_end_either(edge: Ingress) -> None:
    seen = [(await edge.http.get("/v1/models")).status_code for _ in range(RATES.requests + 5)]
    assert seen[0] == 200
    assert seen[-1] == 429
    openai = await edge.http.get("/v1/models")
    assert openai.headers["content-type"] == "application/json"
    assert openai.json()["error"]["code"] == "rate_limited"
    assert openai.json()["error"]["type"] == "rate_limit_error"
    assert openai.headers["ratelimit-policy"] == f'"requests";q={RATES.requests};w=10'
    native = await edge.http.get("/v1/jobs")
    assert native.headers["content-type"] == "application/problem+json"
    assert native.json()["code"] == "rate_limited"


async def test_a_node_without_live_brokers_may_not_hold_the_vip(edge: Ingress) -> None:
    node = edge.cluster.role("ingress")[0]
    url = f"http://{node.address}:{edge.cluster.stats_port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        assert (await http.get("/serving")).status_code == 200
        for broker in edge.brokers.values():
            await broker.stop()
        for name in edge.brokers:
            await edge.wait_state(f"programs/{name}", "DOWN")
        assert (await http.get("/serving")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200


async def run(script: Path) -> int:
    process = await asyncio.create_subprocess_exec("/bin/bash", str(script))
    return await process.wait()


async def test_the_check_keeps_the_vip_where_somebody_can_be_served(
    edge: Ingress, tmp_path: Path
) -> None:
    script = tmp_path / "check"
    here = edge.cluster.role("ingress")[0]
    script.write_text(keepalived.check_script(edge.cluster, here))
    assert await run(script) == 0
    for broker in edge.brokers.values():
        await broker.stop()
    for name in edge.brokers:
        await edge.wait_state(f"programs/{name}", "DOWN")
    # Nobody else has any either.
    assert await run(script) == 0


if __name__ == "__main__":
    for name, made in GOLDEN.items():
        (HERE / name).write_text(made(), encoding="utf-8")
