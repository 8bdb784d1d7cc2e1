"""Until when certificates are valid: for Prometheus, and for who deploys."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inventory.load import LOCAL, load_cluster
from okome.cli import app
from okome.deploy import readiness
from okome.deploy.authority import make_authority
from okome.deploy.certificates import METRIC, all_certificates, figures, of_node
from okome.deploy.secrets import ensure_secrets, vip_names
from okome.doctor import examine
from okome.errors import OkomeError

FILE = LOCAL.with_name("cluster.yml")
CLUSTER = load_cluster(FILE)
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
LIFE = 825 * DAY


@pytest.fixture(name="secrets")
def secrets_fixture(tmp_path: Path) -> Path:
    ensure_secrets(CLUSTER, tmp_path / "secrets", NOW)
    return tmp_path / "secrets"


def test_each_node_tells_of_what_it_has(secrets: Path) -> None:
    found = {node.name: [held.name for held in of_node(node, secrets)] for node in CLUSTER.nodes}
    assert found["okome-node-01"] == ["node", "vip"]
    assert found["okome-node-03"] == ["node"]
    # It is off, and has none.
    assert found["okome-node-07"] == []
    assert found["okome-control"] == ["node", "authority"]
    assert (found["okome-core-gpu"], found["okome-cache"]) == ([], [])
    assert {held.expires for held in of_node(CLUSTER.node("okome-node-01"), secrets)} == {
        NOW + LIFE
    }


def test_the_figures_are_what_a_node_exporter_reads(secrets: Path) -> None:
    done = CliRunner().invoke(
        app, ["node", "certificates", "--inventory", str(FILE), "--secrets", str(secrets)]
    )
    told = json.loads(done.stdout)

    assert set(told) == {node.name for node in CLUSTER.nodes}
    assert told["okome-cache"] == ""
    until = int((NOW + LIFE).timestamp())
    assert told["okome-node-01"].splitlines()[2:] == [
        f'{METRIC}{{certificate="node"}} {until}',
        f'{METRIC}{{certificate="vip"}} {until}',
    ]
    if shutil.which("promtool"):
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=told["okome-node-01"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_chain_is_valid_until_the_first_of_it_expires(secrets: Path) -> None:
    vip = secrets / "ingress/vip.pem"
    older = make_authority("between", NOW - 3600 * DAY)
    vip.write_bytes(b"".join((*older.issue(vip_names(CLUSTER), NOW), older.certificate)))

    (held,) = [each for each in all_certificates(CLUSTER, secrets) if each.name == "vip"][:1]

    assert held.expires == NOW + 50 * DAY


def test_an_encrypted_certificate_is_passed_over_and_a_broken_one_named(secrets: Path) -> None:
    node = CLUSTER.node("okome-node-03")
    file = secrets / "nodes/okome-node-03/tls_cert"
    file.write_bytes(b"$ANSIBLE_VAULT;1.1;AES256\n00")
    assert of_node(node, secrets) == []
    assert figures([]) == ""
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    with pytest.raises(OkomeError, match="tls_cert: is no certificate"):
        of_node(node, secrets)


def test_what_expires_is_named_with_day_and_remedy(secrets: Path) -> None:
    assert readiness.certificates(CLUSTER, secrets, NOW).level == "ok"
    near = readiness.certificates(CLUSTER, secrets, NOW + LIFE - 59 * DAY)
    assert near.level == "lacking"
    assert f"expires on {NOW + LIFE:%Y-%m-%d}" in near.message
    assert "play site.yml" in near.message
    assert readiness.certificates(CLUSTER, secrets, NOW + LIFE + DAY).level == "bad"
    none_yet = readiness.certificates(CLUSTER, secrets / "nowhere", NOW)
    assert none_yet.level == "ok"


def test_doctor_looks_at_a_cluster_of_other_machines_from_where_it_is_deployed(
    secrets: Path,
) -> None:
    inventory = secrets.with_name("cluster.yml")
    shutil.copyfile(FILE, inventory)
    environment = {"PATH": "/nowhere", "OKOME_STATE_DIR": str(secrets.with_name("state"))}

    findings = {f.check: f for f in examine(inventory, environment, NOW + LIFE - 5 * DAY)}

    assert findings["certificates"].level == "lacking"
    assert str(secrets) in findings["certificates"].message
    assert "ansible" in findings
    # Those are of the machines that it is deployed on.
    assert not {"ports", "state"} & set(findings)
