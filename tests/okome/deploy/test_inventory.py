"""An inventory as it is shown, and what is wrong with one, by line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from inventory.load import load_cluster
from okome.deploy.inventory import as_dot, as_json, as_table, as_tree

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "inventory/cluster.yml"


def okome(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "okome", "inventory", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_every_node_is_shown_with_what_listens_there() -> None:
    cluster = load_cluster(CLUSTER)
    shown = as_table(cluster)
    for node in cluster.nodes:
        assert f"{node.name} " in shown
        assert f"── {node.name} {node.address}" in as_tree(cluster)
    nodes = {node["name"]: node for node in as_json(cluster)["nodes"]}
    assert nodes["okome-node-03"]["listens"] == [
        "broker:8100", "log:6379", "log of okome-node-06:6380", "log of okome-node-05:6381",
    ]  # fmt: skip
    assert nodes["okome-node-01"]["listens"] == ["ingress:443", "stats:8404", "redirect:80"]


def test_the_drawing_has_who_connects_to_whom() -> None:
    drawn = as_dot(load_cluster(CLUSTER)).splitlines()
    assert '  "clients at 192.168.86.18" -> "okome-node-01";' in drawn
    assert '  "okome-node-02" -> "okome-node-06";' in drawn
    assert '  "okome-node-06" -> "okome-core-gpu";' in drawn
    assert not any('"okome-node-01" -> "okome-core-gpu"' in line for line in drawn)
    assert (drawn[0], drawn[-1]) == ('digraph "okome" {', "}")


def test_check_names_file_and_line_of_every_fault(tmp_path: Path) -> None:
    text = CLUSTER.read_text(encoding="utf-8")
    text = text.replace("okome_stats_port: 8404", "okome_stats_port: 84040")
    text = text.replace("okome_number: 5,", "okome_number: five,")
    text = text.replace("okome_ingress_tls", "okome_ingres_tls")
    file = tmp_path / "cluster.yml"
    file.write_text(text, encoding="utf-8")

    done = okome("check", str(file))

    def line(part: str) -> int:
        return next(n for n, said in enumerate(text.splitlines(), 1) if part in said)

    assert done.returncode == 1
    tls, stats, number = done.stderr.splitlines()
    assert tls == (
        f"{file}:{line('ingres_tls')}: all.vars.okome_ingres_tls: is not known here; "
        "`okome_ingress_tls` may be meant"
    )
    assert stats == (
        f"{file}:{line('84040')}: all.vars.okome_stats_port: "
        "expected a whole number from 1 to 65535, not 84040"
    )
    assert number.startswith(
        f"{file}:{line('five')}: all.children.stream.hosts.okome-node-05.okome_number: "
        "expected a whole number from 1 to 99"
    )


def test_the_clusters_own_inventory_is_sound() -> None:
    done = okome("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is wrong with it" in done.stdout
    assert json.loads(okome("show", "--json").stdout)["vip"] == "192.168.86.18"
