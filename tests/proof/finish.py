"""The end of a run: all faults end, the engines come to their end, and all see the same."""

from __future__ import annotations

import msgspec

from contracts.grants import Settlement
from tests.proof.socket_viewer import SocketViewer
from tests.proof.twin import counted
from tests.proof.viewer import Viewer
from tests.proof.world import World
from tests.support.eventually import eventually_async

_ENDS = {"completed": "job_complete", "failed": "job_error", "cancelled": "job_cancelled"}


class Finish:
    """What is left to do, and to see, in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """All faults end, the engines come to their end, and everybody sees all of it."""
        world = self._world
        world.look()
        world.heal()
        for number, job_id in enumerate(world.jobs):
            await self._end(number, job_id)
        for number, job_id in enumerate(world.jobs):
            await self._read_everywhere(job_id)
            self._check(number, job_id)
            if not world.known[job_id].lost:
                await self._check_settled(number, job_id)

    async def _end(self, number: int, job_id: str) -> None:
        """Brings a job to its end, wherever it is relayed by now."""
        world = self._world

        async def ended() -> bool:
            if world.known[job_id].lost:
                return not any(twin.relays(job_id) for twin in world.living())
            if world.truth is not None and world.truth.ended(job_id):
                return not any(twin.relays(job_id) for twin in world.living())
            if world.truth is None and not world.twins[0].relays(job_id):
                return True
            if not any(world.owns(twin, job_id) for twin in world.living()):
                await world.take_over(number, world.twins.index(world.living()[-1]))
            return False

        def say() -> None:
            if job_id in world.cancelled and not world.known[job_id].lost:
                return
            for twin in world.living():
                speech = twin.engines.of(f"job {number}")
                if speech is None or speech.paused:
                    continue
                if world.owns(twin, job_id) and not world.known[job_id].lost:
                    world.end(number, world.twins.index(twin))
                else:
                    # One that was, and hears of it when it writes.
                    speech.speak(1)

        async def step() -> bool:
            say()
            return await ended()

        await eventually_async(step, within=20.0)

    async def _read_everywhere(self, job_id: str) -> None:
        """Those who watch come to the end; so does a new viewer on every broker."""
        world = self._world
        readers = [viewer for viewer in world.viewers if viewer.job_id == job_id]
        for twin in world.living():
            new = Viewer(job_id, world.known[job_id]), SocketViewer(job_id, world.known)
            for reader in new:
                reader.connect(twin, 0)
            readers += new
            world.viewers += new

        def all_over() -> bool:
            for reader in readers:
                reader.look()
                if not (reader.over or reader.connected):
                    reader.connect(world.living()[0], 0)
            return all(reader.over for reader in readers)

        await eventually_async(all_over, within=20.0)

    def _check(self, number: int, job_id: str) -> None:
        world = self._world
        known = world.known[job_id]
        world.look()
        if known.lost or known.expired:
            return
        known.check_whole()
        ended = known.events[known.last][0]
        if ended == "job_complete":
            assert known.text() == counted(world.said.get(number, -1)), "not what the engine said"
            return
        assert job_id in (world.cancelled if ended == "job_cancelled" else world.broken), ended
        assert known.text() == counted(len(known.text().split()))

    async def _check_settled(self, number: int, job_id: str) -> None:
        """What the control plane is told, by whomever and however often, is one thing."""
        world = self._world

        async def told() -> list[Settlement]:
            found = [one for one in world.settled if one.job_id == job_id]
            if not found:
                await world.take_over(number, world.twins.index(world.living()[-1]))
            return found

        said = [msgspec.structs.replace(one, node="") for one in await eventually_async(told)]
        assert said == said[:1] * len(said), "settled in two ways"
        known = world.known[job_id]
        if known.end is not None:
            name, data = known.events[known.end]
            assert name == _ENDS[said[0].outcome]
            shown = msgspec.json.decode(data)["usage"]
            assert msgspec.to_builtins(said[0].usage).items() >= shown.items(), (said, shown)
