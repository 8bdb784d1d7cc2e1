from __future__ import annotations

from inventory.members import owner, parse_members

TEXT = """\
aaa 127.0.0.3:6379@16379 myself,master - 0 1700000000000 3 connected 0-4095 9000
bbb 127.0.0.4:6379@16379,name master,fail? - 1700000000001 1700000000000 2 disconnected 4096-8191
ccc 127.0.0.4:6380@16380 slave aaa 0 1700000000000 3 connected
ddd 127.0.0.5:6379@16379 master,fail - 1 2 1 disconnected
eee :0@0 master,noaddr - 1 2 1 disconnected
fff 127.0.0.6:6379@16379 handshake - 0 0 0 connected
"""


def test_members_are_read_as_the_cluster_writes_them() -> None:
    first, second, third, fourth = parse_members(TEXT)
    assert (first.id, first.name, first.myself, first.master) == (
        "aaa",
        "127.0.0.3:6379",
        True,
        None,
    )
    assert (first.slots, first.epoch) == (((0, 4095), (9000, 9000)), 3)
    assert [first.owns(slot) for slot in (0, 4095, 4096, 9000)] == [True, True, False, True]
    assert (second.failed, second.connected, second.port) == (False, False, 6379)
    assert (third.master, third.slots) == ("aaa", ())
    assert fourth.failed


def test_slots_that_move_one_by_one_are_no_part_of_the_answer() -> None:
    (member,) = parse_members("aaa 127.0.0.3:1@2 master - 0 0 1 connected 0-5 [7->-bbb] [9-<-ccc]")
    assert member.slots == ((0, 5),)


def test_the_newest_claim_to_a_slot_counts() -> None:
    old = parse_members("aaa 127.0.0.3:1@2 master - 0 0 3 connected 0-5")
    new = parse_members("ccc 127.0.0.4:1@2 master - 0 0 4 connected 0-5")
    for views in ([old, new], [new, old]):
        found = owner(views, 5)
        assert found is not None
        assert found.id == "ccc"
    assert owner([old, new], 6) is None
    assert owner([], 0) is None
