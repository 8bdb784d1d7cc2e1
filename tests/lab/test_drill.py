"""How a drill's figures are judged."""

from __future__ import annotations

from typing import Any

import pytest

from inventory.load import LOCAL, load_cluster
from lab.drill import chosen, judged, line
from lab.drills import DRILLS, QUICK, Drill
from lab.shell import LabError

KILLED = Drill("x", "a broker is killed", lambda _: None, 3.0, home="n04w0", others=0.1)


def stream(home: str, *gaps: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """`gaps`: (when, how long, how long the engine was silent)."""
    told = [{"at": at, "length": length, "engine": engine} for at, length, engine in gaps]
    base = {"home": home, "gaps": told, "lost": 0, "skipped": 0, "repeated": 0}
    return {**base, "same_text": True, "end": "job_complete length", **more}


def result(*streams: dict[str, Any], late: Any = (), away: Any = ()) -> dict[str, Any]:
    return {"streams": streams, "late": list(late), "vip_away_s": list(away), "struck": 100.0}


def test_within_all_bounds_there_is_no_fault() -> None:
    seen = judged(KILLED, result(stream("n04w0", (100.1, 2.2, 0.02)), stream("n03w0")))
    assert seen["faults"] == []
    assert (seen["hit_s"], round(seen["recovered_s"], 3)) == (2.2, 2.3)


@pytest.mark.parametrize(
    ("hit", "other", "fault"),
    [
        ({}, stream("n03w0", (100.2, 0.3, 0.02)), "others_own_s"),
        ({"lost": 1}, stream("n03w0"), "lost"),
        ({"skipped": 1}, stream("n03w0"), "lost"),
        ({"repeated": 2}, stream("n03w0"), "repeated"),
        ({"same_text": False}, stream("n03w0"), "other_texts"),
        ({"end": "job_error internal"}, stream("n03w0"), "an answer ended by job_error internal"),
        ({"end": ""}, stream("n03w0"), "an answer ended by none"),
    ],
)
def test_each_bound_is_held(hit: dict[str, Any], other: dict[str, Any], fault: str) -> None:
    (said,) = judged(KILLED, result(stream("n04w0", **hit), other))["faults"]
    assert said.startswith(fault)


def test_a_gap_beyond_the_bound_and_a_vip_that_stays_away_are_faults() -> None:
    seen = judged(KILLED, result(stream("n04w0", (100.1, 3.1, 0.02)), away=[2.5]))
    assert [fault.split()[0] for fault in seen["faults"]] == ["hit_s", "vip_s"]
    assert "FAULTS" in line(KILLED, seen)


def test_what_engine_or_machine_were_silent_is_not_held_against_others() -> None:
    for other, late in (
        (stream("n03w0", (100.2, 0.3, 0.29)), []),
        (stream("n03w0", (100.2, 0.3, 0.02)), [(100.3, 0.25)]),
    ):
        seen = judged(KILLED, result(stream("n04w0"), other, late=late))
        assert (seen["faults"], seen["others_s"]) == ([], 0.3)


def test_gaps_of_before_do_not_count() -> None:
    seen = judged(KILLED, result(stream("n04w0", (90.0, 5.0, 0.02))))
    assert (seen["hit_s"], seen["recovered_s"], seen["faults"]) == (0.0, 0.0, [])


def test_drills_have_names_and_homes_that_there_are() -> None:
    keys = [drill.key for drill in DRILLS]
    assert len(set(keys)) == len(keys)
    assert set(QUICK) <= set(keys)
    cluster = load_cluster(LOCAL.with_name("cluster.yml"))
    homes = {f"n{node.number:02}w0" for node in cluster.role("stream")}
    assert {drill.home for drill in DRILLS} - {None} <= homes


def test_drills_are_chosen_by_name_and_the_long_ones_only_so() -> None:
    assert [drill.key for drill in chosen(["broker-kill"])] == ["broker-kill"]
    assert not any(drill.long for drill in chosen([]))
    with pytest.raises(LabError, match="no drill is called nonsense"):
        chosen(["nonsense"])
