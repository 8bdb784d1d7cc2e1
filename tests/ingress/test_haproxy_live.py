"""The configuration proven with a real HAProxy before real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from contracts.codes import HTTP_CODES
from tests.ingress.conftest import Ingress
from tests.support.eventually import eventually_async

JOB = "n05w0-01JD000000000000000000000A"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/jobs/{JOB}",
        f"/v1/jobs/{JOB}/cancel",
        f"/v1/chat/completions/{JOB}",
        f"/v1/echo?job_id={JOB}",
        f"/v1/echo?cursor=3&job_id={JOB}",
    ],
)
async def test_a_request_that_names_a_job_goes_to_the_jobs_home(
    ingress: Ingress, path: str
) -> None:
    assert await ingress.server_of(path) == "n05w0"
    assert await ingress.server_of(path, Cookie="okome_route=n03w0") == "n05w0"


async def test_a_job_whose_home_is_gone_is_served_by_one_other_broker(ingress: Ingress) -> None:
    await ingress.brokers["n05w0"].stop()

    # At once, by trying another, and the same one once the checks have seen it too.
    first = await ingress.server_of(f"/v1/jobs/{JOB}")
    await ingress.wait_state("jobs/n05w0", "DOWN")
    later = {await ingress.server_of(f"/v1/jobs/{JOB}") for _ in range(5)}

    assert first != "n05w0"
    assert len(later) == 1
    assert "n05w0" not in later


async def test_an_unknown_home_is_no_error(ingress: Ingress) -> None:
    assert await ingress.server_of("/v1/jobs/n99w7-whatever") in ingress.brokers


async def test_a_draining_broker_gets_neither_new_work_nor_new_streams(ingress: Ingress) -> None:
    ingress.brokers["n05w0"].ready = False

    await ingress.wait_state("programs/n05w0", "DOWN", within=1.5)

    assert await ingress.server_of(f"/v1/jobs/{JOB}") != "n05w0"
    news = {await ingress.server_of("/v1/models", Authorization=f"k{i}") for i in range(40)}
    assert news == {"n03w0", "n04w0", "n06w0"}
    assert await ingress.server_of("/", Cookie="okome_route=n05w0") != "n05w0"


async def test_a_drain_cuts_no_stream_of_that_broker(ingress: Ingress) -> None:
    async with ingress.http.stream("GET", f"/v1/stream?job_id={JOB}") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "id: 1"
        ingress.brokers["n05w0"].ready = False
        await ingress.wait_state("programs/n05w0", "DOWN")

        ingress.brokers["n05w0"].next_event.set()

        assert [await anext(lines) for _ in range(3)] == ["data: n05w0", "", "id: 2"]


async def test_new_work_sticks_by_credential_and_without_a_cookie(ingress: Ingress) -> None:
    for key in ("Bearer a", "Bearer b", "Bearer c"):
        servers = {await ingress.server_of("/v1/models", Authorization=key) for _ in range(5)}
        assert len(servers) == 1
    answer = await ingress.http.get("/v1/models", headers={"Authorization": "Bearer a"})
    assert "set-cookie" not in answer.headers


async def test_a_browser_sticks_by_cookie_which_brokers_never_see(ingress: Ingress) -> None:
    answer = await ingress.http.get("/")
    cookie = answer.headers["set-cookie"]

    assert cookie.startswith("okome_route=n0")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "cache-control" not in answer.headers
    home = answer.json()["server"]
    assert {await ingress.server_of("/") for _ in range(5)} == {home}
    assert "okome_route" not in ingress.brokers[home].seen[-1].headers.get("cookie", "")


async def test_a_stream_gets_neither_a_cookie_nor_another_cache_rule(ingress: Ingress) -> None:
    async with ingress.http.stream("GET", f"/v1/stream?job_id={JOB}") as answer:
        assert "set-cookie" not in answer.headers
        assert answer.headers.get_list("cache-control") == ["no-cache, no-transform"]
        assert "content-length" not in answer.headers


async def test_events_pass_one_by_one(ingress: Ingress) -> None:
    async with ingress.http.stream("GET", f"/v1/stream?job_id={JOB}") as answer:
        events = answer.aiter_raw()
        for number in range(1, 6):
            # The next event is sent only after this one has arrived: nothing may be held back.
            assert await anext(events) == f"id: {number}\ndata: n05w0\n\n".encode()
            ingress.brokers["n05w0"].next_event.set()


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/internal/v1/policy", "/internal",
     "/metrics?x=1"],
)  # fmt: skip
async def test_internal_paths_do_not_exist_through_the_vip(ingress: Ingress, path: str) -> None:
    answer = await ingress.http.get(ingress.cluster.url + path)

    assert_problem(answer, 404, "not_found")
    assert ingress.control.seen == []
    assert all(seen.path == "/healthz" for b in ingress.brokers.values() for seen in b.seen)


@pytest.mark.parametrize(
    "path", ["/auth/login", "/v1/sessions", "/v1/sessions/x", "/v1/keys", "/v1/usage", "/v1/quota"]
)
async def test_accounts_go_to_the_control_plane(ingress: Ingress, path: str) -> None:
    assert await ingress.server_of(path) == "control"


async def test_without_the_control_plane_accounts_say_so(ingress: Ingress) -> None:
    await ingress.control.stop()

    at_once = await ingress.http.get("/v1/usage")
    await ingress.wait_state("control/okome-control", "DOWN")
    later = await ingress.http.get("/v1/usage")

    for answer in (at_once, later):
        assert_problem(answer, 503, "control_plane_unavailable")
        assert answer.headers["retry-after"] == "2"


async def test_a_server_that_dies_while_it_is_asked_is_told_as_such(ingress: Ingress) -> None:
    for upstream in (ingress.control, *ingress.brokers.values()):
        upstream.dies = True

    # Each on a connection of its own: on one that was used before, HAProxy closes without an
    # answer, as HTTP foresees it for a connection that dies between two requests.
    account = await post(ingress, "/auth/login")
    chat = await post(ingress, "/v1/jobs")

    assert_problem(account, 503, "control_plane_unavailable")
    assert_problem(chat, 502, "broker_lost")
    # Never sent twice: what reached a broker may have started a job.
    seen = [seen for broker in ingress.brokers.values() for seen in broker.seen]
    assert [request.path for request in seen if request.method == "POST"] == ["/v1/jobs"]


async def test_who_reads_a_job_never_hears_that_its_broker_died_meanwhile(
    ingress: Ingress,
) -> None:
    ingress.brokers["n05w0"].dies_reading = True

    read = await ingress.server_of(f"/v1/jobs/{JOB}")
    changed = await post(ingress, f"/v1/jobs/{JOB}/cancel")

    assert read not in (None, "n05w0")
    assert_problem(changed, 502, "broker_lost")


async def test_without_any_broker_the_answer_is_a_problem(ingress: Ingress) -> None:
    for broker in ingress.brokers.values():
        await broker.stop()

    answer = await ingress.http.post("/v1/jobs", headers={"Authorization": "Bearer a"})

    assert_problem(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer a"}, {}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/embeddings"])
async def test_without_any_broker_the_openai_paths_have_their_own_shape(
    ingress: Ingress, path: str, headers: dict[str, str]
) -> None:
    for broker in ingress.brokers.values():
        await broker.stop()

    told = await ingress.http.get(path, headers=headers)
    assert told.status_code == 503
    assert told.json()["error"]["code"] == "overloaded"
    assert told.json()["error"]["type"] == "server_error"
    assert told.headers["content-type"] == "application/json"
    assert told.headers["retry-after"] == "1"


async def test_a_broker_that_dies_is_told_in_the_openai_apis_shape_on_its_paths(
    ingress: Ingress,
) -> None:
    for broker in ingress.brokers.values():
        broker.dies = True

    completion = await post(ingress, "/v1/chat/completions")

    assert completion.status_code == 502
    assert completion.headers["content-type"] == "application/json"
    assert completion.json()["error"]["code"] == "broker_lost"
    # In one connection, after a path of that API, any other has the native shape again.
    async with httpx.AsyncClient(base_url=ingress.http.base_url, trust_env=False) as http:
        for broker in ingress.brokers.values():
            await broker.stop()
        shapes = [
            (await http.get(path)).headers["content-type"]
            for path in ("/v1/models", "/v1/jobs", "/v1/models")
        ]
    assert shapes == ["application/json", "application/problem+json", "application/json"]


async def test_a_dead_broker_costs_no_request(ingress: Ingress) -> None:
    await ingress.brokers["n03w0"].stop()
    await ingress.brokers["n04w0"].stop()

    for number in range(20):
        assert await ingress.server_of("/v1/models", Authorization=f"k{number}") in (
            "n05w0",
            "n06w0",
        )


async def test_a_client_that_leaves_is_noticed_upstream(ingress: Ingress) -> None:
    async with connected(ingress) as (_, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nCookie: okome_route=n03w0\r\n\r\n")
        await eventually_async(lambda: ingress.brokers["n03w0"].seen)

    async with asyncio.timeout(1):
        await ingress.brokers["n03w0"].left.wait()


async def test_websockets_pass_both_ways(ingress: Ingress) -> None:
    async with connected(ingress) as (reader, writer):
        writer.write(
            b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        for word in (b"one", b"two"):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word


async def test_who_asks_is_said_by_the_ingress_alone(ingress: Ingress) -> None:
    forged = {
        "X-Forwarded-For": "8.8.8.8",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=8.8.8.8",
        "X-Real-IP": "8.8.8.8",
    }
    server = await ingress.server_of("/", **forged)

    headers = ingress.brokers[server].seen[-1].headers
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert not {"forwarded", "x-real-ip", "x-forwarded-host"} & headers.keys()


async def test_a_sane_request_id_is_kept_and_any_other_replaced(ingress: Ingress) -> None:
    for given, kept in (("abc-123", True), ("x" * 65, False), ("a b", False)):
        answer = await ingress.http.get("/", headers={"X-Request-Id": given})
        upstream = ingress.brokers[answer.json()["server"]].seen[-1].headers
        assert (answer.headers["x-request-id"] == given) is kept
        assert upstream["x-request-id"] == answer.headers["x-request-id"]


async def test_what_is_no_http_is_refused(ingress: Ingress) -> None:
    async with connected(ingress) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n")
        # HAProxy's own words: before a request is parsed no `http-error` applies (2.6, 2.8).
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_statistics_and_metrics_are_on_the_nodes_own_address(ingress: Ingress) -> None:
    node = ingress.cluster.role("ingress")[0]
    async with httpx.AsyncClient(trust_env=False) as client:
        base = f"http://{node.address}:{ingress.cluster.stats_port}"
        assert "haproxy_server_status" in (await client.get(f"{base}/metrics")).text
        assert (await client.get(f"{base}/healthz")).status_code == 200


async def post(ingress: Ingress, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=ingress.cluster.url, trust_env=False) as client:
        return await client.post(path)


@asynccontextmanager
async def connected(
    ingress: Ingress,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        ingress.cluster.vip, ingress.cluster.ingress_port
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert code in HTTP_CODES
