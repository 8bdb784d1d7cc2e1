"""The one-machine cluster whose control plane is behind mutual TLS, and that tells of traces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from inventory.tls import client_context, tls_files
from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import Reader, start
from tests.support.authority import Authority
from tests.support.cluster import Cluster
from tests.support.collector import Collector
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Cluster]:
    """A cluster of its own, whose credentials directory has certificates."""
    if reason := reason_without_engine():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("guarded"), f"127.84.{own_octet()}.")
    # One machine has one directory of credentials, so one certificate with every role.
    Authority().issue(
        cluster.paths.credentials,
        *("okome:broker", "okome:ingress", "okome:admin"),
        dns=("okome-control",),
        address=f"{cluster.net}25",
    )
    cluster.paths.credentials.chmod(0o700)
    try:
        cluster.up("--set", f"otlp_endpoint={collector.url}")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
async def http(guarded: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {guarded.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        yield client


async def test_a_job_runs_and_is_settled(guarded: Cluster, http: httpx.AsyncClient) -> None:
    job_id = await start(http, guarded.url, 4)
    seen = await Reader(http, guarded.url, job_id).read()
    assert [block.event for block in seen] == ["token"] * (len(seen) - 1) + ["job_complete"]
    account = await http.get(f"{guarded.url}/v1/usage")
    assert account.status_code == 200
    assert "#enter=" in guarded.enter_url


async def test_the_control_plane_hears_nobody_else(
    guarded: Cluster, http: httpx.AsyncClient
) -> None:
    address = f"{guarded.net}25:8000"
    with pytest.raises(httpx.TransportError):
        await http.get(f"http://{address}/readyz")
    files = tls_files(guarded.paths.credentials)
    assert files is not None
    async with httpx.AsyncClient(verify=client_context(files), trust_env=False) as inside:
        assert (await inside.get(f"https://{address}/readyz")).status_code == 200


@pytest.mark.parametrize("path", ["/internal/v1/policy", "/%69nternal/v1/policy", "/internal"])
async def test_internal_is_not_reached_through_the_ingress(guarded: Cluster, path: str) -> None:
    key = (guarded.paths.credentials / "service_key").read_text()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as outside:
        assert (await outside.get(guarded.url + path)).status_code == 404


async def test_where_a_job_s_time_went_is_told_from_the_ingress_to_the_engine(
    guarded: Cluster, http: httpx.AsyncClient, collector: Collector
) -> None:
    trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer = await http.post(
        f"{guarded.url}/v1/jobs",
        json={"model": "smollm2:135m", "prompt": "Hi", "max_tokens": 4},
        headers={"traceparent": f"00-{trace}-{caller}-01"},
    )
    await Reader(http, guarded.url, answer.json()["job_id"]).read()
    told = await eventually_async(
        lambda: len(found := collector.of_trace(trace)) >= 4 and found, within=20
    )
    services = {name: who for name, (who, _) in told.items()}
    assert services == {
        "ingress": "okome-broker",
        "job": "okome-broker",
        "grant": "okome-control",
        "generation": "okome-broker",
    }
    spans = {name: span for name, (_, span) in told.items()}
    assert spans["ingress"].parent_span_id.hex() == caller
    assert spans["job"].parent_span_id == spans["ingress"].span_id
    assert spans["grant"].parent_span_id == spans["job"].span_id
    assert spans["generation"].parent_span_id == spans["job"].span_id
    job, generation = spans["job"], spans["generation"]
    assert job.start_time_unix_nano <= generation.start_time_unix_nano
    (first,) = generation.events
    assert generation.start_time_unix_nano <= first.time_unix_nano
    assert first.time_unix_nano <= generation.end_time_unix_nano
    attributes = {a.key: a.value for a in generation.attributes}
    assert attributes["gen_ai.usage.output_tokens"].int_value == 4
    assert attributes["gen_ai.response.finish_reasons"].string_value == "length"
