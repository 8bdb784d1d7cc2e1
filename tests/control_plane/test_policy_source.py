"""A policy file that changes under way, on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control_plane.metrics import Metrics
from control_plane.policy_source import PolicySource
from control_plane.rulebook import Rulebook
from inventory.faults import FaultsError
from tests.control_plane.harness import Clock, cluster
from tests.control_plane.test_policy_reading import GOOD

OTHER = GOOD.replace("streams: 2", "streams: 3")
BAD = GOOD.replace("streams: 2", "streams: none")
TOLD = ["tiers.free.streams: expected a whole number from 1 to 10000000, not text"]


class Watched:
    """A file, its source, and what was adopted of it."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.path, self.kept = directory / "policy.yml", directory / "kept.yml"
        self.path.write_text(GOOD)
        self.clock, self.metrics = clock, Metrics()
        self.adopted: list[Rulebook] = []
        self.source = self.begin()

    def begin(self) -> PolicySource:
        return PolicySource(cluster(), self.path, self.clock, self.kept)

    async def look(self) -> list[int | None]:
        """The free tier's streams of what was adopted in this look."""
        self.adopted.clear()
        await self.source.look(self.adopted.append, self.metrics)
        return [rules.streams("free") for rules in self.adopted]

    def told(self) -> list[str]:
        return [line.split(": ", 1)[1] for line in self.source.refused]

    def counted(self, result: str) -> float | None:
        name = "okome_control_policy_reloads_total"
        return self.metrics.registry.get_sample_value(name, {"result": result})

    def refused(self) -> float | None:
        return self.metrics.registry.get_sample_value("okome_control_policy_refused")


@pytest.fixture
def watched(tmp_path: Path, clock: Clock) -> Watched:
    return Watched(tmp_path, clock)


async def test_a_file_that_changes_is_taken_over_once(watched: Watched) -> None:
    assert await watched.look() == []
    watched.clock.now += 5
    watched.path.write_text(OTHER)
    assert await watched.look() == [3]
    assert watched.source.rules is watched.adopted[0]
    assert watched.source.taken_at == watched.clock.now
    assert await watched.look() == []
    assert watched.counted("taken") == 1


async def test_a_bad_file_is_refused_and_the_old_one_stays(watched: Watched) -> None:
    watched.path.write_text(BAD)
    assert await watched.look() == []
    assert watched.source.rules.streams("free") == 2
    assert watched.told() == TOLD
    assert watched.source.refused_at == watched.clock.now
    assert (watched.counted("refused"), watched.refused()) == (1, 1)
    assert await watched.look() == []
    assert watched.counted("refused") == 1

    watched.path.write_text(OTHER)
    assert await watched.look() == [3]
    assert (watched.told(), watched.refused()) == ([], 0)


async def test_the_way_back_ends_the_refusal_and_changes_nothing(watched: Watched) -> None:
    since = watched.source.taken_at
    watched.clock.now += 5
    watched.path.write_text(BAD)
    await watched.look()
    watched.path.write_text(GOOD)
    assert await watched.look() == []
    assert (watched.told(), watched.source.taken_at) == ([], since)


async def test_a_file_that_goes_is_told_of_and_may_come_back(watched: Watched) -> None:
    watched.path.unlink()
    await watched.look()
    assert watched.told() == ["cannot be read: No such file or directory"]
    watched.path.mkdir()
    await watched.look()
    assert watched.told() == ["is not a file"]
    watched.path.rmdir()
    watched.path.write_text(OTHER)
    assert await watched.look() == [3]


async def test_who_asks_for_it_has_a_file_read_that_looks_the_same(watched: Watched) -> None:
    before = watched.path.stat()
    watched.path.write_text(OTHER)
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await watched.look() == []
    watched.source.reread()
    assert await watched.look() == [3]


async def test_the_last_good_one_holds_over_a_restart(watched: Watched) -> None:
    watched.path.write_text(OTHER)
    await watched.look()
    watched.path.write_text(BAD)
    watched.source = watched.begin()
    assert watched.source.rules.streams("free") == 3
    assert watched.told() == TOLD
    await watched.look()
    assert watched.refused() == 1
    assert watched.kept.stat().st_mode & 0o777 == 0o600


def test_without_a_good_one_there_is_no_beginning(watched: Watched) -> None:
    watched.path.write_text(BAD)
    watched.kept.write_text(BAD)
    with pytest.raises(FaultsError) as caught:
        watched.begin()
    assert caught.value.file == str(watched.path)
    watched.kept.unlink()
    with pytest.raises(FaultsError):
        watched.begin()


async def test_without_a_file_the_inventory_holds(clock: Clock) -> None:
    source = PolicySource(cluster(), None, clock)
    assert list(source.rules.models) == ["small", "scores", "other"]
    await source.look(lambda _: pytest.fail("there is nothing to adopt"), Metrics())
