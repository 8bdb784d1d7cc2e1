"""Which hosts the lab has, how they are reached, and what its inventory says."""

from __future__ import annotations

from pathlib import Path

import yaml

from inventory.load import LOCAL, load_cluster
from lab.topology import Host, hosts_file, hosts_of, overlay, ssh_config

CLUSTER = LOCAL.with_name("cluster.yml")
OVERLAY = Path(__file__).parents[2] / "lab" / "overlay.yml"


def test_every_node_of_the_cluster_is_booted_and_a_client() -> None:
    cluster = load_cluster(CLUSTER)

    hosts = hosts_of(cluster)

    assert [host.name for host in hosts] == [*(node.name for node in cluster.nodes), "client"]
    assert len({host.address for host in hosts} | {cluster.vip}) == len(hosts) + 1
    assert len({host.port for host in hosts}) == len(hosts)
    assert all(len(host.port) <= 15 for host in hosts)


def test_mappings_are_joined_and_all_else_is_replaced() -> None:
    raw = {"a": {"b": 1, "c": [1, 2]}, "d": 2}

    assert overlay(raw, {"a": {"c": [3]}, "e": 4}) == {"a": {"b": 1, "c": [3]}, "d": 2, "e": 4}
    assert raw == {"a": {"b": 1, "c": [1, 2]}, "d": 2}


def test_the_lab_s_inventory_is_the_cluster_s_with_engines_of_its_own(tmp_path: Path) -> None:
    raw, over = (yaml.safe_load(path.read_text("utf-8")) for path in (CLUSTER, OVERLAY))
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump(overlay(raw, over)), "utf-8")

    lab, real = load_cluster(path), load_cluster(CLUSTER)

    assert [node.address for node in lab.nodes] == [node.address for node in real.nodes]
    assert [engine.model for engine in lab.role("core_gpu")[0].engines] == ["smollm2:135m", "drill"]


def test_hosts_know_each_other_and_ssh_knows_them() -> None:
    hosts = (Host("okome-node-01", "192.0.2.41"), Host("client", "192.0.2.200"))

    assert hosts_file(hosts).splitlines()[1:] == [
        "192.0.2.41 okome-node-01",
        "192.0.2.200 client",
    ]
    config = ssh_config(hosts, "/key", "/known")
    assert "Host okome-node-01\n    HostName 192.0.2.41\n" in config
    assert "Host okome-node-01 192.0.2.41 client 192.0.2.200\n" in config
    assert "StrictHostKeyChecking yes" in config
