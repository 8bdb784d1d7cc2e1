"""`okome up` and the commands beside it, with stand-ins for the planes and a real Redis,
HAProxy and engine address. What a person sees when something is wrong is tested word by word."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from okome.paths import locate
from okome.programs import find_program
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.nets import own_octet

NET = f"127.92.{own_octet()}."


@pytest.fixture
def cluster(tmp_path: Path, own_engine: str) -> Iterator[Cluster]:
    made = Cluster(tmp_path, NET, standins=True)
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def own_engine() -> Iterator[str]:
    """An engine of one's own: its health is all that the launcher asks for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((f"{NET}99", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{NET}99:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def engine(url: str) -> list[str]:
    return ["--engine", url, "--kind", "vllm", "--model", "some/model"]


def test_up_uses_an_engine_of_ones_own_and_down_leaves_nothing(
    cluster: Cluster, own_engine: str
) -> None:
    said = cluster.up(*engine(own_engine))

    assert f"{cluster.local_url}/#enter=standin-token" in said
    assert cluster.api_key in said
    assert "curl -N" in said
    assert "some/model" in said
    node = cluster.node("okome-core-gpu")
    assert (node["pid"], node["healthy"], node["state"]) == (None, True, "up")
    assert own_engine.removesuffix("/v1") in (cluster.state_dir / "inventory.yml").read_text()
    assert (cluster.state_dir / "credentials").stat().st_mode & 0o777 == 0o700
    for name in ("service_key", "admin_key", "api_key", "session_key", "data_key"):
        assert (cluster.state_dir / "credentials" / name).stat().st_mode & 0o777 == 0o600

    cluster.down()

    assert cluster.processes() == []
    assert not locate("local", cluster.environment).runtime.exists()
    assert "not running" in cluster.down()


def test_a_second_start_keeps_the_key(cluster: Cluster, own_engine: str) -> None:
    cluster.up(*engine(own_engine))
    key = cluster.api_key
    cluster.down()
    cluster.up(*engine(own_engine))
    assert cluster.api_key == key


def test_prometheus_asks_the_cluster_and_comes_back_when_it_is_killed(
    cluster: Cluster, own_engine: str
) -> None:
    if find_program("prometheus", os.environ) is None:
        pytest.skip("prometheus is not installed")
    cluster.up(*engine(own_engine))
    assert cluster.okome("dash") == f"http://{NET}49:3000/\n"
    page = httpx.get(f"http://{NET}49:3000/api/picture", trust_env=False).json()
    assert (page["away"], page["cluster"]) == (None, "local")
    first = cluster.node("okome-node-09")
    assert (first["role"], first["port"], first["healthy"]) == ("observability", 9090, True)
    targets = f"http://{NET}49:9090/api/v1/targets"

    def asked() -> set[str]:
        found = httpx.get(targets, trust_env=False).json()["data"]["activeTargets"]
        return {target["labels"]["job"] for target in found}

    eventually(lambda: asked() >= {"okome-broker", "okome-control", "haproxy"}, within=30)

    os.kill(first["pid"], signal.SIGKILL)

    eventually(lambda: cluster.node("okome-node-09")["pid"] not in (first["pid"], None), within=15)
    cluster.start("okome-node-09")
    assert httpx.get(targets, trust_env=False).status_code == 200


def test_a_prometheus_on_our_port_takes_nothing_but_figures(
    cluster: Cluster, own_engine: str
) -> None:
    if find_program("prometheus", os.environ) is None:
        pytest.skip("prometheus is not installed")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((f"{cluster.net}49", 9090))
        other.listen()
        said = cluster.up(*engine(own_engine))
        doctor = json.loads(cluster.run("doctor", "--json").stdout)

    assert f"no figures over time: {NET}49:9090 is in use by" in said
    assert "observability" not in {node["role"] for node in cluster.status()["nodes"]}
    assert doctor["ok"] is True
    asked = cluster.run("dash")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "no dashboard page is served: it needs Prometheus" in asked.stderr


def test_ctrl_c_ends_everything_in_the_foreground(cluster: Cluster, own_engine: str) -> None:
    with subprocess.Popen(
        cluster.command("up", *engine(own_engine)),
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("OKOME is ready" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert "nothing is running any more" in "".join(lines)
        assert process.wait() == 0
    assert cluster.processes() == []


def test_nothing_survives_a_killed_supervisor_and_the_next_up_works(
    cluster: Cluster, own_engine: str
) -> None:
    cluster.up(*engine(own_engine))
    os.kill(cluster.status()["supervisor_pid"], signal.SIGKILL)

    eventually(lambda: cluster.processes() == [])

    assert cluster.run("status").returncode == 1
    cluster.up(*engine(own_engine))
    assert cluster.status()["nodes"]


def test_logs_show_what_processes_wrote(cluster: Cluster, own_engine: str) -> None:
    cluster.up(*engine(own_engine))

    assert "stream_broker stand-in on" in cluster.okome("logs", "okome-node-03", "-n", "1")
    assert re.search(r"^okome-control +\| control_plane stand-in", cluster.okome("logs"), re.M)
    done = cluster.run("logs", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no log of nobody" in done.stderr


def test_a_port_in_use_is_told_with_its_owner(cluster: Cluster, own_engine: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((f"{cluster.net}25", 8000))
        other.listen()

        done = cluster.run("up", "--detach", *engine(own_engine))
        doctor = json.loads(cluster.run("doctor", "--json").stdout)

    name = Path("/proc/self/comm").read_text().strip()
    expected = f"{NET}25:8000 is in use by {name} (pid {os.getpid()}); stop it and try again"
    assert done.returncode == 1
    assert done.stderr == f"okome: {expected}\n"
    assert doctor["ok"] is False
    assert cluster.processes() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nonsense=1"], "no setting is called 'nonsense'; see `okome settings`"),
        (["--set", "heartbeat=99"], "--set heartbeat=99: heartbeat: Expected `float` <= 15.0"),
        (["--set", "heartbeat"], "--set heartbeat: expected name=value"),
        (["--settings", "broken.yml"], "broken.yml: not valid YAML"),
        (["--settings", "missing.yml"], "missing.yml: cannot be read: No such file"),
        (["--engine", "nowhere", "--kind", "vllm", "--model", "m"], "expected a URL such as"),
        (["--engine", f"http://{NET}98:9", "--kind", "tgi", "--model", "m"], "expected vllm"),
    ],
)
def test_what_is_wrong_is_one_line(cluster: Cluster, arguments: list[str], message: str) -> None:
    (cluster.directory / "broken.yml").write_text("a: [1", encoding="utf-8")

    done = cluster.run("up", "--detach", *arguments)

    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("okome: ")
    assert cluster.processes() == []


def test_an_engine_that_is_not_there_fails_the_start(cluster: Cluster) -> None:
    done = cluster.run("up", "--detach", *engine(f"http://{NET}98:9"))

    assert done.returncode == 1
    assert f"the engine is not there: http://{NET}98:9/health refuses" in done.stderr
    assert cluster.processes() == []


def test_an_inventory_that_cannot_be_used_is_named(cluster: Cluster) -> None:
    good = cluster.inventory.read_text(encoding="utf-8")
    cluster.inventory.write_text("all: {}", encoding="utf-8")
    done = cluster.run("up")
    cluster.inventory.write_text(good, encoding="utf-8")

    assert done.returncode == 1
    assert done.stderr.startswith(f"okome: {cluster.inventory}:1: all: `children` is missing; ")
