"""The one-machine cluster whose control plane is behind mutual TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from inventory.tls import client_context, tls_files
from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import Reader, start
from tests.support.authority import Authority
from tests.support.cluster import Cluster
from tests.support.nets import own_octet

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
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
        cluster.up()
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
