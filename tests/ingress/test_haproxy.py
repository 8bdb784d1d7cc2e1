"""The configuration as text: the golden file, and what HAProxy itself says of it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from contracts.codes import HTTP_CODES
from ingress.backends import ControlTls
from ingress.errors import CONTROL, UNREAD, UNSERVED
from ingress.haproxy import Limits, render
from inventory.load import LOCAL, load_cluster
from okome.programs import find_program

GOLDEN = Path(__file__).with_name("local.cfg")


def local_config() -> str:
    cluster = load_cluster(LOCAL)
    return render(cluster, cluster.role("ingress")[0], Limits(job_deadline=600))


def test_the_one_machine_configuration_is_as_it_was_reviewed() -> None:
    # After a change that is meant: python -m tests.ingress.test_haproxy
    assert local_config() == GOLDEN.read_text(encoding="utf-8")


def test_haproxy_accepts_it_without_a_warning(tmp_path: Path) -> None:
    program = find_program("haproxy", os.environ)
    if program is None:
        pytest.skip("haproxy is not installed")
    config = tmp_path / "with a space.cfg"
    config.write_text(local_config(), encoding="utf-8")

    checked = subprocess.run(
        [program, "-c", "-q", "-f", str(config)], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_second_worker_is_a_server_of_its_own(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    text = LOCAL.read_text(encoding="utf-8")
    inventory.write_text(text.replace("[n03w0]", "[n03w0, n03w1]"), encoding="utf-8")
    cluster = load_cluster(inventory)

    config = render(cluster, cluster.role("ingress")[0], Limits(job_deadline=600))

    assert re.findall(r"server (n03w\d 127\S+)", config).count("n03w1 127.86.0.43:8101") == 3
    assert "use-server n03w1 if { var(txn.home) -m str n03w1 }" in config


def test_without_a_shared_log_a_draining_broker_keeps_its_jobs(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    text = LOCAL.read_text(encoding="utf-8")
    inventory.write_text(text.replace("okome_durability: local", "okome_durability: none"))
    cluster = load_cluster(inventory)

    config = render(cluster, cluster.role("ingress")[0], Limits(job_deadline=600))

    assert "srv_is_up" not in config


def test_a_non_streaming_answer_may_take_as_long_as_a_job(tmp_path: Path) -> None:
    cluster = load_cluster(LOCAL)
    config = render(cluster, cluster.role("ingress")[0], Limits(job_deadline=1234))
    assert "timeout server 1244s" in config


def test_every_error_is_in_the_table_of_codes_and_fits_haproxys_quotes() -> None:
    public = UNREAD | UNSERVED
    for problem in (*public.values(), *CONTROL.values()):
        assert problem.code in HTTP_CODES
        assert "'" not in problem.detail + problem.title
    for status, problem in public.items():
        assert problem.status in (status, 400)


def test_a_control_plane_behind_mutual_tls_is_reached_with_a_certificate() -> None:
    cluster = load_cluster(LOCAL)
    tls = ControlTls(cert="/run/a place/control.pem", ca="/run/a place/tls_ca")
    config = render(cluster, cluster.role("ingress")[0], Limits(job_deadline=600), tls)
    (server,) = [line for line in config.splitlines() if "server okome-control " in line]
    assert "ssl verify required verifyhost okome-control" in server
    assert 'ca-file "/run/a place/tls_ca" crt "/run/a place/control.pem"' in server
    # Brokers are reached as before.
    assert config.count(" ssl ") == 1


if __name__ == "__main__":
    GOLDEN.write_text(local_config(), encoding="utf-8")
