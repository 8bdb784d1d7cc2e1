"""Mutual TLS as it is served: real connections, real certificates, the real application."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from control_plane.__main__ import _server_config
from control_plane.app import build_app
from control_plane.channel import ServerTls, allowed
from control_plane.credentials import Credentials, CredentialsError, read_credentials
from control_plane.store.database import Database
from control_plane.store.engines import sqlite_url
from inventory.settings import Settings
from inventory.tls import TlsFiles, client_context
from stream_broker.channel import ClientTls
from stream_broker.control import ControlClient, ControlUnavailable
from tests.control_plane.harness import (
    API_KEY,
    DATA_KEY_TEXT,
    SERVICE_KEY,
    SESSION_KEY,
    Clock,
    Engines,
    cluster,
)
from tests.support.authority import Authority
from tests.support.eventually import eventually_async

TRUSTED = Authority()
OTHER = Authority("another authority")


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run


class Place:
    """A control plane behind mutual TLS, and who comes to it."""

    def __init__(self, directory: Path, port: int, tls: ServerTls) -> None:
        self.directory = directory
        self.port = port
        self.tls = tls
        self.url = f"https://127.0.0.1:{port}"

    def issue(self, *uris: str, authority: Authority = TRUSTED, expired: bool = False) -> TlsFiles:
        """A client's files: signed by `authority`, believing the trusted one."""
        files = authority.issue(self.directory / "client", *uris, expired=expired)
        shutil.copy(self.directory / "server" / "tls_ca", files.ca)
        return files

    async def ask(self, context: ssl.SSLContext, path: str, key: str = API_KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            return await http.get(self.url + path, headers=headers)

    async def ask_as(self, role: str, path: str, key: str = API_KEY) -> httpx.Response:
        return await self.ask(client_context(self.issue(role)), path, key)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    tls = ServerTls(TRUSTED.issue(tmp_path / "server", dns=("okome-control",)))
    database = Database(sqlite_url(tmp_path), timeout_s=5.0)
    clock = Clock()
    await database.open(clock())
    app = build_app(
        cluster=cluster(),
        settings=Settings(),
        credentials=Credentials(SERVICE_KEY, API_KEY, SESSION_KEY),
        database=database,
        clock=clock,
        engine_transport=Engines(),
    )
    config = _server_config(app, tls)
    config.host, config.port = "127.0.0.1", 0
    sock = config.bind_socket()
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await eventually_async(lambda: server.started)
        yield Place(tmp_path, sock.getsockname()[1], tls)
    finally:
        server.should_exit = True
        await serving
        await database.close()


@pytest.mark.parametrize(
    ("role", "public", "internal"),
    [
        ("okome:broker", 403, 200),
        ("okome:ingress", 200, 403),
        ("okome:admin", 200, 200),
        ("okome:observer", 403, 403),
        ("okome:nobody", 403, 403),
    ],
)
async def test_a_role_may_what_it_is_for(
    place: Place, role: str, public: int, internal: int
) -> None:
    account = await place.ask_as(role, "/v1/usage")
    policy = await place.ask_as(role, "/internal/v1/policy", SERVICE_KEY)
    assert (account.status_code, policy.status_code) == (public, internal)
    for refused in (answer for answer in (account, policy) if answer.status_code == 403):
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "role_missing"
        assert "certificate" in refused.json()["detail"]


async def test_a_certificate_does_not_replace_the_credential(place: Place) -> None:
    answer = await place.ask_as("okome:broker", "/internal/v1/policy", "x" * 43)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_every_role_may_ask_how_it_is(place: Place) -> None:
    for role in ("okome:broker", "okome:ingress", "okome:admin", "okome:observer"):
        assert (await place.ask_as(role, "/readyz")).status_code == 200
        assert (await place.ask_as(role, "/metrics")).status_code == 200
    assert (await place.ask_as("okome:nobody", "/readyz")).status_code == 403


@pytest.mark.parametrize("path", ["/%69nternal/v1/policy", "/internal", "/internal/v1/../v1/x"])
async def test_no_spelling_of_internal_is_the_ingress_s(place: Place, path: str) -> None:
    assert (await place.ask_as("okome:ingress", path)).status_code in (403, 404)


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("/internal", {"broker", "admin"}),
        ("/internal/v1/grants", {"broker", "admin"}),
        ("/internals", {"ingress", "admin"}),
        ("/", {"ingress", "admin"}),
        ("", {"ingress", "admin"}),
        ("/metrics", {"broker", "ingress", "admin", "observer"}),
    ],
)
def test_who_may_ask_for_what(path: str, roles: set[str]) -> None:
    assert allowed(path) == roles


async def test_without_a_certificate_nobody_is_heard(place: Place) -> None:
    with pytest.raises(httpx.TransportError):
        await place.ask(TRUSTED.believed(), "/readyz")


async def test_another_authority_s_word_is_not_believed(place: Place) -> None:
    files = place.issue("okome:admin", authority=OTHER)
    with pytest.raises(httpx.TransportError):
        await place.ask(client_context(files), "/readyz")


async def test_an_expired_certificate_is_none(place: Place) -> None:
    with pytest.raises(httpx.TransportError):
        await place.ask(client_context(place.issue("okome:admin", expired=True)), "/readyz")


async def test_plain_http_is_not_answered(place: Place) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://127.0.0.1:{place.port}/readyz")


async def test_the_old_versions_of_tls_are_not_spoken(place: Place) -> None:
    context = client_context(place.issue("okome:admin"))
    assert place.tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await place.ask(context, "/readyz")).status_code == 200


# The broker's side.


@contextlib.asynccontextmanager
async def broker(
    place: Place, tls: ClientTls | None, host: str = ""
) -> AsyncIterator[ControlClient]:
    url = place.url.replace("127.0.0.1", host or "127.0.0.1")
    client = ControlClient(url, SERVICE_KEY, 5.0, tls.context if tls else None)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_broker_polls_its_policy_through_it(place: Place) -> None:
    async with broker(place, ClientTls(place.issue("okome:broker"))) as client:
        polled = await client.policy(None)
        assert polled is not None
        assert await client.policy(polled[1]) is None


@pytest.mark.parametrize("wrong", ["none", "authority", "expired", "believes another", "role"])
async def test_a_broker_that_is_not_let_in_has_no_control_plane(place: Place, wrong: str) -> None:
    files = place.issue(
        "okome:ingress" if wrong == "role" else "okome:broker",
        authority=OTHER if wrong == "authority" else TRUSTED,
        expired=wrong == "expired",
    )
    if wrong == "believes another":
        OTHER.issue(place.directory / "other")
        shutil.copy(place.directory / "other" / "tls_ca", files.ca)
    async with broker(place, None if wrong == "none" else ClientTls(files)) as client:
        with pytest.raises(ControlUnavailable):
            await client.policy(None)


async def test_a_broker_calls_nobody_whose_certificate_names_another_address(place: Place) -> None:
    # 127.0.0.1 is in the certificate, this one is not; both lead to the same server.
    async with broker(place, ClientTls(place.issue("okome:broker")), "localhost") as client:
        with pytest.raises(ControlUnavailable, match="CertVerification"):
            await client.policy(None)


async def test_new_files_are_read_without_a_restart(place: Place) -> None:
    files = place.issue("okome:ingress")
    tls = ClientTls(files)
    first = tls.context()
    assert tls.context() is first
    place.issue("okome:broker")
    assert tls.context() is not first
    async with broker(place, tls) as client:
        assert await client.policy(None) is not None
    # A half-written one changes nothing.
    second = tls.context()
    files.key.write_text("-----BEGIN")
    assert tls.context() is second
    files.cert.unlink()
    assert tls.context() is second


async def test_the_control_plane_reads_a_new_certificate_too(place: Place) -> None:
    client = client_context(place.issue("okome:admin"))
    believed = place.directory / "server"
    await place.tls.check()
    OTHER.issue(believed)
    (believed / "tls_key").write_text("-----BEGIN")
    await place.tls.check()
    assert (await place.ask(client, "/readyz")).status_code == 200
    OTHER.issue(believed)
    await place.tls.check()
    with pytest.raises(httpx.TransportError):
        await place.ask(client, "/readyz")
    assert (await place.ask(_believing(OTHER, client_files(place)), "/readyz")).status_code == 200


def client_files(place: Place) -> TlsFiles:
    return OTHER.issue(place.directory / "client", "okome:admin")


def _believing(authority: Authority, files: TlsFiles) -> ssl.SSLContext:
    context = authority.believed()
    files.load_into(context)
    return context


# The credentials.


def write_secrets(directory: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    (directory / "service_key").write_text(SERVICE_KEY)
    (directory / "api_key").write_text(API_KEY)
    (directory / "data_key").write_text(DATA_KEY_TEXT)
    pem = SESSION_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "session_key").write_bytes(pem)


def test_without_the_files_there_is_no_tls(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    assert read_credentials(tmp_path).tls is None


def test_with_all_of_them_there_is(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    TRUSTED.issue(tmp_path)
    assert read_credentials(tmp_path).tls is not None


@pytest.mark.parametrize("spoilt", ["tls_cert", "tls_key", "tls_ca"])
@pytest.mark.parametrize("how", ["missing", "garbage", "encrypted"])
def test_a_part_of_them_is_told_by_name(tmp_path: Path, spoilt: str, how: str) -> None:
    write_secrets(tmp_path)
    TRUSTED.issue(tmp_path, password=b"x" if how == "encrypted" else None)
    if how == "missing":
        (tmp_path / spoilt).unlink()
    elif how == "garbage":
        (tmp_path / spoilt).write_text("garbage")
    with pytest.raises(CredentialsError) as refused:
        read_credentials(tmp_path)
    if how == "missing":
        assert f"{spoilt}: missing" in str(refused.value)
