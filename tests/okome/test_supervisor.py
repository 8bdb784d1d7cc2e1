"""The supervisor with real child processes."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from okome.errors import OkomeError
from okome.paths import Paths
from okome.plan import ProcessSpec
from okome.supervisor import Supervisor
from tests.okome.conftest import MakeSpec
from tests.support.eventually import eventually, eventually_async

Make = Callable[..., Supervisor]


@pytest.fixture
async def make(paths: Paths) -> AsyncIterator[Make]:
    made: list[Supervisor] = []

    def build(*specs: ProcessSpec) -> Supervisor:
        made.append(Supervisor(specs, paths, os.environ, lambda _: None))
        return made[-1]

    yield build
    for supervisor in made:
        await supervisor.down()


async def entry(supervisor: Supervisor, name: str) -> dict[str, Any]:
    return next(node for node in await supervisor.status() if node["name"] == name)


async def test_up_returns_when_everything_is_ready(make: Make, make_spec: MakeSpec) -> None:
    supervisor = make(make_spec("one", 1), make_spec("two", 2))

    await supervisor.up(10)

    for node in await supervisor.status():
        assert node["healthy"]
        assert node["state"] == "up"
        os.kill(node["pid"], 0)


# Is ready at its first look, as an ingress that has not looked at its brokers yet, then for three
# looks not, and then for good.
UNSURE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        with open(sys.argv[3], "w") as file: file.write(str(Handler.asked))
        self.send_response(503 if 2 <= Handler.asked <= 4 else 200)
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


async def test_an_ingress_that_was_ready_too_soon_is_asked_again(
    make: Make, make_spec: MakeSpec, tmp_path: Path
) -> None:
    ingress = make_spec("door", 1, code=UNSURE, role="ingress")
    argv = (*ingress.argv[:-1], str(tmp_path / "asked"))
    supervisor = make(dataclasses.replace(ingress, argv=argv), make_spec("one", 2))

    await supervisor.up(10)

    assert int((tmp_path / "asked").read_text()) >= 5


async def test_a_killed_process_is_back_within_two_seconds(make: Make, make_spec: MakeSpec) -> None:
    supervisor = make(make_spec("one", 1))
    await supervisor.up(10)
    for _ in range(3):
        old = (await entry(supervisor, "one"))["pid"]
        began = time.monotonic()
        os.kill(old, signal.SIGKILL)

        async def is_new(old: int = old) -> bool:
            node = await entry(supervisor, "one")
            return bool(node["healthy"] and node["pid"] != old)

        await eventually_async(is_new)
        assert time.monotonic() - began < 2


async def test_stop_kills_and_holds_down_and_start_brings_back(
    make: Make, make_spec: MakeSpec
) -> None:
    supervisor = make(make_spec("one", 1), make_spec("two", 2))
    await supervisor.up(10)
    old = (await entry(supervisor, "one"))["pid"]

    await supervisor.stop("one/stream")

    node = await entry(supervisor, "one")
    assert (node["state"], node["pid"], node["healthy"]) == ("stopped", None, False)
    with pytest.raises(ProcessLookupError):
        os.kill(old, 0)
    assert (await entry(supervisor, "two"))["healthy"]

    await supervisor.start("one")

    node = await entry(supervisor, "one")
    assert (node["state"], node["healthy"]) == ("up", True)
    assert node["pid"] != old


async def test_drain_lets_a_broker_finish_and_holds_it_down(
    make: Make, make_spec: MakeSpec, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = (
        "import os, signal, sys, threading\n"
        f"def finish(*_): threading.Thread(target=lambda: (open({str(gate)!r}).read(), "
        "os._exit(0))).start()\n"
        "signal.signal(signal.SIGTERM, finish)\n"
    )
    spec = make_spec("one", 1)
    server = spec.argv[2] if spec.argv else ""
    supervisor = make(make_spec("one", 1, code=code + server))
    await supervisor.up(10)

    await supervisor.drain("one")

    assert (await entry(supervisor, "one"))["state"] == "draining"
    with pytest.raises(OkomeError, match="is draining"):
        await supervisor.start("one")
    gate.write_text("finish")

    async def stopped() -> bool:
        return (await entry(supervisor, "one"))["state"] == "stopped"

    await eventually_async(stopped)
    await supervisor.start("one")
    assert (await entry(supervisor, "one"))["healthy"]


async def test_only_brokers_drain(make: Make, make_spec: MakeSpec) -> None:
    supervisor = make(make_spec("one", 1, role="control"))
    with pytest.raises(OkomeError, match="no broker"):
        await supervisor.drain("one")


async def test_an_unknown_node_is_refused_with_those_there_are(
    make: Make, make_spec: MakeSpec
) -> None:
    supervisor = make(make_spec("one", 1))
    for target in ("two", "one/ingress", ""):
        with pytest.raises(OkomeError, match="there are one/stream"):
            await supervisor.stop(target)


async def test_a_crash_loop_fails_the_start_with_the_last_line(
    make: Make, make_spec: MakeSpec
) -> None:
    spec = make_spec("one", 1, code="import sys; sys.exit('no such table: jobs')")
    supervisor = make(spec, make_spec("two", 2))

    with pytest.raises(OkomeError, match=r"one ends again and again .*no such table: jobs"):
        await supervisor.up(10)

    node = await entry(supervisor, "one")
    assert "no such table" in node["last_end"]


async def test_a_program_that_is_not_there_fails_the_start(make: Make, make_spec: MakeSpec) -> None:
    supervisor = make(make_spec("one", 1, argv=("/no/such/program",)))
    with pytest.raises(OkomeError, match="cannot be started: No such file"):
        await supervisor.up(10)


async def test_a_process_that_never_gets_ready_fails_with_its_reason(
    make: Make, make_spec: MakeSpec, tmp_path: Path
) -> None:
    (tmp_path / "unready").touch()
    supervisor = make(make_spec("one", 1))
    with pytest.raises(OkomeError, match=r"one is not ready after 1 s: .* answers 503"):
        await supervisor.up(1)


async def test_a_process_waits_for_those_it_comes_after(
    make: Make, make_spec: MakeSpec, paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "unready").touch()
    supervisor = make(make_spec("late", 2, after=("early",)), make_spec("early", 1))
    starting = asyncio.create_task(supervisor.up(10))

    async def early_runs() -> bool:
        return b"listening" in paths.log("early").read_bytes()

    await eventually_async(early_runs)
    assert (await entry(supervisor, "late"))["pid"] is None
    (tmp_path / "unready").unlink()
    await starting
    assert (await entry(supervisor, "late"))["healthy"]


async def test_an_engine_of_ones_own_is_watched_and_never_touched(
    make: Make, make_spec: MakeSpec
) -> None:
    supervisor = make(make_spec("gpu", 1), make_spec("own", 1, argv=None, role="core_gpu"))

    await supervisor.up(10)

    node = await entry(supervisor, "own")
    assert (node["pid"], node["healthy"], node["state"]) == (None, True, "up")
    with pytest.raises(OkomeError, match="engine of yours"):
        await supervisor.stop("own")


async def test_down_ends_even_what_ignores_sigterm(
    make: Make, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okome.supervisor.STOP_GRACE", 0.2)
    spec = make_spec("one", 1)
    server = spec.argv[2] if spec.argv else ""
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + server
    supervisor = make(make_spec("one", 1, code=stubborn))
    await supervisor.up(10)
    pid = (await entry(supervisor, "one"))["pid"]

    await supervisor.down()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_survives_the_supervisors_own_death(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from okome.child import die_with\n"
        "async def main():\n"
        "    child = await asyncio.create_subprocess_exec('sleep', '600',\n"
        "        preexec_fn=die_with(os.getpid()), start_new_session=True)\n"
        "    print(child.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        os.kill(child, 0)

        supervisor.kill()

        eventually(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
