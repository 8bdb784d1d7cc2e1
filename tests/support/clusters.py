"""The cluster of inventory/cluster.yml, with what an owner may have changed in it."""

from __future__ import annotations

from pathlib import Path

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster


def cluster_with_a_seventh_broker(directory: Path) -> Cluster:
    """07 serves as a broker, 08 is off. Its file is `inventory.yml` in the directory."""
    text = LOCAL.with_name("cluster.yml").read_text(encoding="utf-8")
    off = 'okome_number: 7, okome_speculative: "off"'
    assert off in text
    file = directory / "inventory.yml"
    file.write_text(text.replace(off, off.replace('"off"', "broker")), encoding="utf-8")
    return load_cluster(file)
