"""What scripted engines do in the tests of the client, and how a test asks them."""

from __future__ import annotations

from contracts.grants import EngineTarget
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.wires import DONE, content, finish
from tests.support.scripted_engine import END, SSE_HEAD, Peer, Script, chunk

CALL = EngineCall(model="m", messages=[{"role": "user", "content": "Hi"}], max_tokens=5)
WHOLE = SSE_HEAD + chunk(content("Hi")) + chunk(finish("stop") + DONE) + END


async def stream_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(WHOLE)


async def keep_alive(peer: Peer) -> None:
    while True:
        await stream_once(peer)


async def silent(peer: Peer) -> None:
    await peer.gone()


def says(*pieces: bytes, reset: bool = False) -> Script:
    """A script that answers each request with these pieces and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if reset:
            peer.reset()

    return script


async def heard(client: EngineClient, target: EngineTarget) -> Listener:
    """One generation to its end."""
    listener = Listener()
    await client.start(target, CALL, listener)
    await listener.end()
    return listener
