"""A client whose packets vanish: in a network of its own, whose cable is pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stream_broker import connection as module
from tests.stream_broker.served import serving
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

CLIENT = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
while sock.recv(1000):
    pass
"""


class Network:
    """A namespace behind a cable: `host` is this end, `inside` runs a program at the other."""

    def __init__(self) -> None:
        number = own_octet()
        self.name = f"okome-{os.getpid()}"
        self.host = f"10.213.{number}.1"
        self._link = f"ok{os.getpid()}"
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self._link, "type", "veth", "peer", "eth0", "netns", self.name)
        self._ip("addr", "add", f"{self.host}/30", "dev", self._link)
        self._ip("link", "set", self._link, "up")
        self._ip("-n", self.name, "addr", "add", f"10.213.{number}.2/30", "dev", "eth0")
        self._ip("-n", self.name, "link", "set", "eth0", "up")

    def inside(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command])

    def pull(self) -> None:
        """From now on nothing arrives on either side."""
        self._ip("-n", self.name, "link", "set", "eth0", "down")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._link], check=False, capture_output=True)

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    if shutil.which("ip") is None:
        pytest.skip("no `ip`: install iproute2 to test with packets that vanish")
    try:
        network = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace may be made here: {error.stderr.decode().strip()}")
    yield network
    network.remove()


async def test_a_client_whose_packets_vanish_is_let_go(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USER_TIMEOUT_MS", 300)
    async with serving(network.host) as server:
        port = str(server.address[1])
        client = network.inside(sys.executable, "-c", CLIENT, network.host, port)
        try:
            connection = await server.connection()
            network.pull()
            connection.write_frame(b": keep-alive\n")
            assert not connection.full
            await eventually_async(lambda: server.taker.left, within=20)
        finally:
            client.kill()
            client.wait()
