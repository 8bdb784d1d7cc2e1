"""Who may come in where, as text and as nftables reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from inventory.load import LOCAL
from inventory.model import Cluster
from okome.deploy.firewall import Admission, Opening, openings, render
from okome.deploy.nodes import firewalls
from okome.errors import OkomeError
from tests.support.clusters import cluster_with_a_seventh_broker

HERE = Path(__file__).parent
OPERATOR = "192.168.86.200"
ADMISSION = Admission(operators=(OPERATOR, "2001:db8:86::/64"))
GOLDEN = ("okome-node-01", "okome-node-03", "okome-node-07", "okome-node-09", "okome-control",
          "okome-core-gpu", "okome-cache")  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return cluster_with_a_seventh_broker(tmp_path_factory.mktemp("inventory"))


def way(cluster: Cluster, name: str, what: str) -> Opening:
    (found,) = [o for o in openings(cluster, cluster.node(name), ADMISSION) if o.what == what]
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_the_rules_are_as_they_were_reviewed(cluster: Cluster, name: str) -> None:
    # After a change that is meant: python -m tests.okome.deploy.test_firewall
    text = render(cluster, cluster.node(name), ADMISSION)
    assert text == (HERE / "firewall" / f"{name}.nft").read_text(encoding="utf-8")


def test_nftables_takes_the_rules_of_every_node(cluster: Cluster, tmp_path: Path) -> None:
    # In a network of its own: even a check asks the kernel.
    alone = ["unshare", "--map-root-user", "--net"]
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if nft is None or subprocess.run([*alone, "true"], check=False).returncode != 0:
        pytest.skip("needs nft and a network namespace")
    file = tmp_path / "all.nft"
    rules = "".join(render(cluster, node, ADMISSION) for node in cluster.nodes)
    file.write_text(rules, encoding="utf-8")

    done = subprocess.run([*alone, nft, "-f", file], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_is_for_brokers_and_its_bus_for_its_members(cluster: Cluster) -> None:
    log = way(cluster, "okome-node-03", "log").sources
    members = way(cluster, "okome-node-03", "log, among its members").sources
    net = "192.168.86."
    assert log == tuple(net + n for n in ("44", "45", "46", "47", "49", "50"))
    assert members == tuple(net + n for n in ("44", "45", "46"))


def test_vrrp_is_only_between_the_two(cluster: Cluster) -> None:
    spoken = [
        (node.name, found.sources)
        for node in cluster.nodes
        for found in openings(cluster, node, ADMISSION)
        if found.protocol == "vrrp"
    ]
    assert spoken == [
        ("okome-node-01", ("192.168.86.42",)),
        ("okome-node-02", ("192.168.86.41",)),
    ]


def test_only_ssh_and_the_ingress_are_for_everybody(cluster: Cluster) -> None:
    everybody = {
        (node.role, found.what)
        for node in cluster.nodes
        for found in openings(cluster, node, ADMISSION)
        if found.sources is None and found.what != "ssh"
    }
    assert everybody == {("ingress", "clients")}


def test_who_has_no_way_in_gets_no_rule(cluster: Cluster) -> None:
    node = cluster.node("okome-node-08")
    nobody = Admission(ssh=(), also=(Opening("spare", (9999,), ()),))
    assert "9999" not in render(cluster, node, nobody)
    assert "dport { 22 }" not in render(cluster, node, nobody)


@pytest.mark.parametrize(
    "admission",
    [
        '{"okome-node-01": {"ssh": ["office"]}}',
        '{"okome-node-01": {"also": [{"what": "a\\" accept", "ports": [1]}]}}',
        '{"okome-node-01": {"also": [{"what": "a", "ports": [70000]}]}}',
        '{"okome-node-01": {"also": [{"what": "a", "ports": [1], "protocol": "sctp"}]}}',
        "{",
    ],
)
def test_what_cannot_be_a_rule_is_refused(admission: str) -> None:
    with pytest.raises(OkomeError, match=r"okome-node-01: its firewall|who may come in"):
        firewalls(LOCAL.with_name("cluster.yml"), admission.encode())


def test_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(OkomeError, match="node-99 is no node"):
        firewalls(LOCAL.with_name("cluster.yml"), b'{"node-99": {}}')


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        made = cluster_with_a_seventh_broker(Path(directory))
        for each in GOLDEN:
            text = render(made, made.node(each), ADMISSION)
            (HERE / "firewall" / f"{each}.nft").write_text(text, encoding="utf-8")
