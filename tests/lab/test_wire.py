"""A bad link: what is lost, what is late, and that nothing overtakes."""

from __future__ import annotations

import random

from lab.wire import IN, OUT, Link, Queue


def test_a_frame_arrives_after_its_delay_and_not_before() -> None:
    queue = Queue(Link(0.02, 0, 0), random.Random(1))
    queue.put(10.0, IN, b"a")
    assert queue.due(10.019) == []
    assert round(queue.wait(10.0) or 0, 3) == 0.02
    assert queue.due(10.021) == [(IN, b"a")]
    assert queue.wait(10.1) is None


def test_jitter_never_makes_frames_of_one_way_overtake() -> None:
    queue = Queue(Link(0.02, 0.02, 0), random.Random(2))
    for n in range(200):
        queue.put(10 + n / 1000, n % 2, bytes([n]))
    arrived = queue.due(20.0)
    for way in (IN, OUT):
        frames = [frame for at, frame in arrived if at == way]
        assert frames == sorted(frames)
    assert len(arrived) == 200


def test_a_share_is_lost() -> None:
    queue = Queue(Link(0, 0, 0.1), random.Random(3))
    for _ in range(10_000):
        queue.put(1.0, OUT, b"x")
    assert 8_800 < len(queue.due(2.0)) < 9_200
