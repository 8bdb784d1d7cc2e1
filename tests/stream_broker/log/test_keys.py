from __future__ import annotations

import pytest
from redis.crc import key_slot

from inventory.load import LOCAL, load_cluster
from inventory.model import Node
from stream_broker.ids import Home
from stream_broker.log.keys import Keys, KeySpace
from tests.stream_broker.building import job_id

CLUSTER = load_cluster(LOCAL)
SPACE = KeySpace(CLUSTER)
SLOTS = 16_384


@pytest.mark.parametrize("node", CLUSTER.role("stream"), ids=lambda node: node.name)
def test_the_tags_of_a_node_lie_in_its_own_quarter_of_the_slots(node: Node) -> None:
    nodes = CLUSTER.role("stream")
    share = SLOTS // len(nodes)
    place = nodes.index(node)
    for tag in node.log_tags:
        assert place * share <= key_slot(tag.encode()) < (place + 1) * share


def test_all_keys_of_a_tag_share_its_slot() -> None:
    keys = Keys("n03w0")
    names = [
        *(keys.job("j"), keys.log("j"), keys.seen("j"), keys.relays, keys.control),
        *(keys.wake("p"), keys.claim("c"), keys.conversation("c")),
    ]
    assert len(set(names)) == len(names)
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"n03w0")}


def test_a_jobs_keys_follow_from_its_id() -> None:
    for node in CLUSTER.role("stream"):
        keys = SPACE.of_job(job_id(home=Home(node.number, 0)))
        assert keys == Keys(node.log_tags[0])


@pytest.mark.parametrize("job", ["", "x", job_id(home=Home(9, 0)), job_id(home=Home(3, 7))])
def test_a_job_of_another_cluster_has_no_keys(job: str) -> None:
    assert SPACE.of_job(job) is None


def test_claims_spread_over_all_tags() -> None:
    tags = [SPACE.of_claim(f"key {number}").tag for number in range(400)]
    assert set(tags) == set(SPACE.tags)
    assert min(tags.count(tag) for tag in SPACE.tags) > 50
    assert SPACE.of_claim("key 1") == KeySpace(CLUSTER).of_claim("key 1")
