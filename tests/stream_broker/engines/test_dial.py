"""Opening connections: socket options, several addresses, TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.grants import EngineTarget
from stream_broker.engines import dial
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Finish, Text
from stream_broker.engines.origin import Origin
from tests.stream_broker.engines.scripts import heard, keep_alive, silent, stream_once
from tests.support.scripted_engine import ScriptedEngine


class Keeper(asyncio.Protocol):
    """A protocol that keeps its transport."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that only itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(host, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "engine.pem"
    file.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_an_engine_behind_tls(
    client: EngineClient, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(dial, "_tls", lambda: trusting)
    async with ScriptedEngine(keep_alive, tls=serving(certificate)) as engine:
        for _ in range(2):
            listener = await heard(client, engine.target())
            assert listener.heard == [Text("Hi"), Finish("stop")]
        assert engine.connections == 1
        await client.aclose()


async def test_a_certificate_nobody_vouches_for_is_unreachable(
    client: EngineClient, certificate: Path
) -> None:
    async with ScriptedEngine(silent, tls=serving(certificate)) as engine:
        assert (await heard(client, engine.target())).code == "engine_unreachable"


async def test_tls_to_who_speaks_none_is_unreachable(client: EngineClient) -> None:
    async with ScriptedEngine(stream_once) as engine:
        url = f"https://127.0.0.1:{engine.port}"
        target = EngineTarget(kind="vllm", base_url=url, model="m")
        assert (await heard(client, target)).code == "engine_unreachable"


async def test_the_next_address_is_tried(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = dial._connect
    tried: list[object] = []

    async def second(*arguments: object) -> socket.socket:
        tried.append(arguments[2])
        if len(tried) == 1:
            raise ConnectionRefusedError
        return await connect(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(dial, "_connect", second)
    async with ScriptedEngine(stream_once) as engine:
        address = ("127.0.0.1", engine.port)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)] * 2

        async def resolve(*_: object, **__: object) -> object:
            return found

        monkeypatch.setattr(dial, "_resolve", resolve)
        assert (await heard(client, engine.target())).finish.reason == "stop"
    assert tried == [address, address]


async def test_the_socket_is_small_and_does_not_wait() -> None:
    async with ScriptedEngine(silent) as engine:
        origin = Origin(False, "127.0.0.1", engine.port, "", "")
        protocol = await dial.dial(origin, Keeper, receive_buffer=32 * 1024)
        found = protocol.transport.get_extra_info("socket")
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        # Linux doubles what is asked for, for its own bookkeeping.
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 32 * 1024
        # A machine without power is noticed in 5 s, not at the idle timeout.
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [found.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [2, 1, 3]
        protocol.transport.abort()
        await protocol.gone.wait()


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
async def test_an_address_is_not_looked_up(host: str, family: int) -> None:
    # Without a loop nothing could be looked up.
    (found,) = await dial._resolve(cast(Any, None), Origin(False, host, 8000, "", ""))
    assert found[:3] == (family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert found[4][:2] == (host, 8000)


async def test_a_name_is_looked_up() -> None:
    loop = asyncio.get_running_loop()
    found = await dial._resolve(loop, Origin(False, "localhost", 8000, "", ""))
    assert {address[1] for _, _, _, _, address in found} == {8000}


async def test_nobody_looks_up_an_address_to_connect_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a thread of uvloop's was asked")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", never)
    monkeypatch.setattr(loop, "sock_connect", never)
    async with ScriptedEngine(silent) as engine:
        (await dial.connect(Origin(False, "127.0.0.1", engine.port, "", ""))).close()


async def test_a_port_nobody_listens_at_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConnectionRefusedError):
            await dial.connect(Origin(False, "127.0.0.1", taken.getsockname()[1], "", ""))


@pytest.mark.filterwarnings("error")
async def test_who_gives_up_connecting_leaves_nothing_behind() -> None:
    """A listener whose queue is full answers nothing; connections to it wait for seconds."""
    loop = asyncio.get_running_loop()
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        first.connect(busy.getsockname())
        origin = Origin(False, "127.0.0.1", busy.getsockname()[1], "", "")
        connecting = loop.create_task(dial.connect(origin))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(connecting), 0.05)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
