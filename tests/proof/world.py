"""Three brokers over one log, two jobs, some viewers, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from contracts.grants import Settlement
from stream_broker.tasks import end
from tests.proof.ledger import Known
from tests.proof.socket_viewer import SocketViewer
from tests.proof.truth import Truth
from tests.proof.twin import Twin
from tests.proof.viewer import Viewer
from tests.support.chaos_proxy import Mode
from tests.support.eventually import eventually_async

NODES = ("okome-node-03", "okome-node-04", "okome-node-05")
JOBS = 2
# Of these so many read events, and the others a WebSocket.
VIEWERS = 6
BY_EVENTS = 4
_TRIES = 10


class World:
    """What all forms of the log have in common; see `forms.py`."""

    def __init__(self) -> None:
        self.said: dict[int, int] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="okome-proof-"))
        self.twins: list[Twin] = []
        self.jobs: list[str] = []
        self.known: dict[str, Known] = {}
        self.cancelled: set[str] = set()
        self.broken: set[str] = set()
        self.settled: list[Settlement] = []
        self.viewers: list[Viewer | SocketViewer] = []
        self.truth: Truth | None = None
        self._doing: set[asyncio.Task[None]] = set()

    # How it begins and ends.

    async def make_twin(self, number: int) -> Twin:
        """A broker on the node of that number, not started."""
        raise NotImplementedError

    async def start(self, brokers: int) -> None:
        """Starts the brokers, a job on each of the first ones, and viewers of them."""
        for number in range(brokers):
            self.twins.append(await self._start_twin(number))
        for number in range(JOBS):
            job_id = await self._begin(self.twins[number % brokers], number)
            self.jobs.append(job_id)
            self.known[job_id] = Known()
        jobs = [self.jobs[n % JOBS] for n in range(VIEWERS)]
        self.viewers = [Viewer(job_id, self.known[job_id]) for job_id in jobs[:BY_EVENTS]]
        self.viewers += [SocketViewer(job_id, self.known) for job_id in jobs[BY_EVENTS:]]

    async def _start_twin(self, number: int) -> Twin:
        """All of them settle with one control plane."""
        twin = await self.make_twin(number)
        twin.control.settled = self.settled
        await twin.start()
        return twin

    async def _begin(self, twin: Twin, number: int) -> str:
        """A job that its log has: on a slow machine that may take a second try."""
        for _ in range(_TRIES):
            body = {"model": "small", "prompt": f"job {number}"}
            answer = await twin.post("/v1/jobs", body)
            assert answer.status == 202, answer.body
            job_id = str(answer.json()["job_id"])
            await eventually_async(lambda: twin.engines.of(f"job {number}"))
            if self.truth is None or self.truth.epoch(job_id):
                return job_id
            twin.broker.runner.cancel(job_id, "client")
        raise AssertionError("no job has its record in the log")

    async def close(self) -> None:
        """Ends everything, whatever state it is in."""
        for viewer in self.viewers:
            viewer.drop()
        if self._doing:
            await end(self._doing)
        self.heal()
        for twin in self.twins:
            if twin.alive:
                await twin.kill()
            if twin.proxy is not None:
                await twin.proxy.__aexit__()
        if self.truth is not None:
            self.truth.close()
        # A thread of a broker's that is writing a file does not end with its task.
        await asyncio.get_running_loop().shutdown_default_executor()
        shutil.rmtree(self.directory)

    # What the rules do.

    def speak(self, job: int, at: int, words: int) -> None:
        """An engine says more to whoever asked it on that broker: the relay, or one that was."""
        speech = self._at(at).engines.of(f"job {job}")
        if speech is not None:
            speech.speak(words)

    def end(self, job: int, at: int) -> None:
        """An engine comes to its end, for whoever asked it on that broker."""
        twin = self._at(at)
        speech = twin.engines.of(f"job {job}")
        if speech is None or speech.paused:
            return
        if self.owns(twin, self.jobs[job]):
            self.said[job] = speech.count
        speech.finish()

    def break_engine(self, job: int, at: int) -> None:
        """An engine dies under whoever reads of it on that broker."""
        speech = self._at(at).engines.of(f"job {job}")
        if speech is not None:
            self.broken.add(self.jobs[job])
            speech.fail()

    def fault(self, at: int, mode: Mode) -> None:
        """The broker's way to the log changes."""
        twin = self._at(at)
        if twin.alive and twin.proxy is not None:
            twin.proxy.set(mode)

    async def kill(self, at: int) -> None:
        """A broker dies, unless it is the last one."""
        twin = self._at(at)
        if not twin.alive or sum(t.alive for t in self.twins) == 1:
            return
        for viewer in self.viewers:
            if viewer.twin is twin:
                viewer.leave()
        await twin.kill()

    async def drain(self, at: int) -> None:
        """A broker is told to end, and hands over its relays, unless it is the last one."""
        twin = self._at(at)
        if not twin.alive or sum(t.alive for t in self.twins) == 1:
            return
        relayed = [job_id for job_id in self.jobs if self.owns(twin, job_id)]
        await twin.drain()
        for viewer in self.viewers:
            if viewer.twin is twin:
                viewer.leave()
        await twin.stop()
        for stream in twin.engines.streams:
            assert stream.closed, "an engine is still read for"
        if self.truth is not None and (twin.proxy is None or twin.proxy.mode == "open"):
            for job_id in relayed:
                assert self.truth.ended(job_id) or not self.truth.leased(job_id), "not handed over"

    async def restart(self, at: int) -> None:
        """A dead broker's node has a new one."""
        number = at % len(self.twins)
        old = self.twins[number]
        if old.alive:
            return
        if old.proxy is not None:
            await old.proxy.__aexit__()
        self.twins[number] = await self._start_twin(number)

    async def take_over(self, job: int, at: int) -> None:
        """The lease of a job lapses, and a broker goes on with it, if it can."""
        twin = self._at(at)
        if self.truth is None or not twin.alive:
            return
        job_id = self.jobs[job]
        self.truth.lapse(job_id)
        doing = asyncio.create_task(twin.take_over(job_id, self.truth.keys(job_id).tag))
        if twin.proxy is None or twin.proxy.mode == "open":
            await doing
        else:
            self._doing.add(doing)
            doing.add_done_callback(self._doing.discard)

    async def renew(self, at: int) -> None:
        """The relays of a broker renew their leases; those that are none any more hear so."""
        twin = self._at(at)
        if not twin.alive or (twin.proxy is not None and twin.proxy.mode != "open"):
            return
        await twin.renew()
        for job_id in self.jobs:
            mine = not twin.relays(job_id) or self.owns(twin, job_id)
            assert mine or self.known[job_id].lost, "a relay that does not know that it is none"

    async def cancel(self, job: int, at: int) -> None:
        """The user cancels a job on some broker; what was answered well has to be done."""
        twin = self._at(at)
        if not twin.alive or (twin.proxy is not None and twin.proxy.mode != "open"):
            return
        job_id = self.jobs[job]
        answer = await twin.post(f"/v1/jobs/{job_id}/cancel", {})
        if answer.status == 202:
            self.cancelled.add(job_id)
        elif answer.status in (404, 410, 421):
            assert self.known[job_id].lost
        else:
            assert answer.status == 503, answer.body

    def connect(self, viewer: int, at: int, back: int) -> None:
        """A viewer comes back on some broker, a little before where it was."""
        twin = self._at(at)
        if twin.alive:
            self.viewers[viewer].connect(twin, back)

    def expire(self, job: int) -> None:
        """The log of a job that has ended goes."""
        job_id = self.jobs[job]
        if self.truth is not None and self.truth.ended(job_id):
            self.truth.expire(job_id)
            self.known[job_id].expired = True

    def lose_everything(self) -> None:
        """The store comes back empty."""
        if self.truth is None:
            return
        self.look()
        self.truth.come_back_empty()
        for known in self.known.values():
            known.lost = True

    def heal(self) -> None:
        """All faults end."""
        for twin in self.living():
            if twin.proxy is not None:
                twin.proxy.set("open")
        for viewer in self.viewers:
            viewer.take()

    # What must hold.

    def look(self) -> None:
        """Every viewer was shown a prefix of the one log, and nothing that the log has not."""
        for viewer in self.viewers:
            viewer.look()
        for job_id, known in self.known.items():
            if self.truth is None or known.lost or known.expired:
                continue
            there = self.truth.events(job_id)
            assert sorted(there) == list(range(1, len(there) + 1)), "a gap in the log"
            shown = {seq: event for seq, event in known.events.items() if there.get(seq) != event}
            assert not shown, f"shown, and not in the log: {shown}"

    def owns(self, twin: Twin, job_id: str) -> bool:
        """Has that broker the relay that may write?"""
        live = twin.broker.runner.jobs.get(job_id)
        if live is None or not live.running:
            return False
        return self.truth is None or live.epoch == self.truth.epoch(job_id)

    def living(self) -> list[Twin]:
        """The brokers that have not ended."""
        return [twin for twin in self.twins if twin.alive]

    def _at(self, at: int) -> Twin:
        return self.twins[at % len(self.twins)]
