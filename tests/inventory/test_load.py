"""What an inventory says of the log, and what it is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventory.load import LOCAL, InventoryError, load_cluster
from inventory.slots import slot_of
from tests.support.clusters import cluster_with_a_seventh_broker

REPLICATED = LOCAL.with_name("local-replicated.yml")


def loaded(directory: Path, *changes: tuple[str, str], source: Path = REPLICATED) -> object:
    text = source.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = directory / "inventory.yml"
    file.write_text(text, encoding="utf-8")
    return load_cluster(file)


def test_each_primary_has_its_replicas_on_the_next_two_nodes() -> None:
    stores = load_cluster(REPLICATED).log_stores()
    assert len({store.name for store in stores}) == 12
    places = {
        home: [store.node for store in stores if store.home == home] for home in
        (store.node for store in stores if store.primary)
    }  # fmt: skip
    assert {home: set(nodes) for home, nodes in places.items()} == {
        "okome-node-03": {"okome-node-03", "okome-node-04", "okome-node-05"},
        "okome-node-04": {"okome-node-04", "okome-node-05", "okome-node-06"},
        "okome-node-05": {"okome-node-05", "okome-node-06", "okome-node-03"},
        "okome-node-06": {"okome-node-06", "okome-node-03", "okome-node-04"},
    }
    assert all(len(nodes) == 3 for nodes in places.values())
    assert [store.port for store in stores if store.primary] == [6379] * 4


def test_every_tag_lies_in_its_own_nodes_slots() -> None:
    for inventory in (LOCAL, REPLICATED):
        cluster = load_cluster(inventory)
        assert cluster.foreign_tags() == []
        for node in cluster.role("stream"):
            assert all(slot_of(tag) in cluster.log_slots(node.name) for tag in node.log_tags)


def test_one_machine_has_one_redis() -> None:
    (store,) = load_cluster(LOCAL).log_stores()
    assert (store.name, store.primary) == ("127.86.0.17:6379", True)


def test_without_a_log_there_is_no_redis(tmp_path: Path) -> None:
    cluster = loaded(tmp_path, ("okome_durability: replicated", "okome_durability: none"))
    assert cluster.log_stores() == ()  # type: ignore[attr-defined]


def test_a_tag_in_another_nodes_slots_is_refused(tmp_path: Path) -> None:
    said = "okome-node-04: okome_log_tags: 'n03w0b' falls into slot 12425, and this node's primary"
    with pytest.raises(InventoryError, match=said):
        loaded(tmp_path, ("[n04w0a]", "[n03w0b]"))


def test_too_few_nodes_for_a_majority_are_refused(tmp_path: Path) -> None:
    text = REPLICATED.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in text if "node-05:" not in line and "node-06:" not in line]
    file = tmp_path / "inventory.yml"
    file.write_text("".join(kept), encoding="utf-8")
    with pytest.raises(InventoryError, match="needs 3 nodes"):
        load_cluster(file)


def test_local_durability_needs_its_redis(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="exactly one node in the group `redis`"):
        loaded(tmp_path, ("okome_durability: replicated", "okome_durability: local"))


def test_an_engines_name_stands_for_one_server(tmp_path: Path) -> None:
    first = '{kind: vllm, port: 8000, model: "smollm2:135m", context: 2048}'
    text = LOCAL.read_text(encoding="utf-8")
    path = tmp_path / "cluster.yml"

    path.write_text(text.replace(first, f"{first}\n            - {first.replace('8000', '8001')}"))
    with pytest.raises(InventoryError, match="two servers are called 'vllm'"):
        load_cluster(path)

    named = first.replace("port: 8000", "port: 8001, name: second")
    path.write_text(text.replace(first, f"{first}\n            - {named}"))
    (node,) = load_cluster(path).role("core_gpu")
    assert [engine.name for engine in node.engines] == ["vllm", "second"]


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        loaded(
            tmp_path,
            (
                "ansible_host: 127.86.0.44, okome_number: 4",
                "ansible_host: nowhere, okome_number: 3",
            ),
            ("okome_log_tags: [n06w0a]", "okome_log_tags: [n05w0a]"),
        )
    text = (tmp_path / "inventory.yml").read_text(encoding="utf-8").splitlines()
    node = next(n for n, line in enumerate(text, 1) if "okome-node-04:" in line)
    hosts = "all.children.stream.hosts"
    assert [line.partition(".yml:")[2] for line in caught.value.lines] == [
        f"{node}: {hosts}.okome-node-04.ansible_host: "
        "okome-node-04: ansible_host 'nowhere' is not an IP address",
        f"{node}: {hosts}.okome-node-04.okome_number: "
        "number 3 is used by more than one node: okome-node-03 has it too",
        f"{node + 2}: {hosts}.okome-node-06.okome_log_tags: "
        "okome-node-06: okome_log_tags: 'n05w0a' falls into slot 10099, and this node's primary "
        "owns 12288 to 16383; take another tag",
        f"{node + 2}: {hosts}.okome-node-06.okome_log_tags: "
        "okome_log_tags must be unique: okome-node-05 has 'n05w0a' too",
    ]


def test_variables_of_others_are_left_alone_and_slips_are_not(tmp_path: Path) -> None:
    own = "    okome_cluster: local-replicated\n"
    loaded(tmp_path, (own, f"{own}    ansible_port: 2222\n    okome_of_mine: 1\n"))
    with pytest.raises(InventoryError, match="`okome_vip` may be meant"):
        loaded(tmp_path, (own, f"{own}    okome_vips: 127.86.0.19\n"))


def test_groups_inside_of_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="groups inside of groups are not read"):
        loaded(tmp_path, ("    control:\n", "    control:\n      children: {more: {}}\n"))


def test_a_file_that_is_no_yaml_is_told_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"inventory.yml:1: is not YAML"):
        loaded(tmp_path, ("# The one-machine", "]"))
    with pytest.raises(InventoryError, match="cannot be read"):
        load_cluster(tmp_path / "nowhere.yml")


def test_a_speculative_node_is_a_broker_without_a_log_of_its_own_or_nothing(
    tmp_path: Path,
) -> None:
    cluster = cluster_with_a_seventh_broker(tmp_path)
    assert [node.number for node in cluster.brokers()] == [3, 4, 5, 6, 7]
    assert cluster.log_tag(7, 0) == "n07w0"
    assert cluster.log_tag(8, 0) is None
    assert len(cluster.log_stores()) == 12
    assert (cluster.node("okome-node-07").port, cluster.node("okome-node-08").port) == (8100, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("okome_speculative: speculative, okome_log_tags: [n07w0]", "expected one of off, broker"),
        ("okome_speculative: on, okome_log_tags: [n07w0]", "expected one of off, broker"),
        ("okome_speculative: broker, okome_log_tags: []", "needs one tag per worker"),
        ("okome_speculative: broker, okome_log_tags: [n03w0]", "must be unique"),
    ],
)
def test_what_a_speculative_node_cannot_be_is_refused(
    tmp_path: Path, changed: str, said: str
) -> None:
    old = 'okome_speculative: "off", okome_log_tags: [n07w0]'
    with pytest.raises(InventoryError, match=said):
        loaded(tmp_path, (old, changed), source=LOCAL.with_name("cluster.yml"))
