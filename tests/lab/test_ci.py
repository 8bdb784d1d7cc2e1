"""Where there can be no lab, it says why and does not fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import ci, network
from lab.lab import Lab


@pytest.fixture(name="told")
def told_fixture() -> list[str]:
    return []


def run(cache: Path, told: list[str], *, or_skip: bool) -> int:
    return ci.ci(Lab(cache, told.append), told.append, or_skip=or_skip, whole=False)


def test_without_root_it_is_skipped_where_that_is_asked_for(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ci.os, "geteuid", lambda: 1000)
    assert run(tmp_path, told, or_skip=True) == 0
    assert run(tmp_path, told, or_skip=False) == 1
    assert told == ["skipped: it needs root", "not possible: it needs root"]


def test_programs_that_are_missing_are_named_by_their_packages(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ci.os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(tmp_path, told, or_skip=True) == 0
    assert "systemd-container" in told[0]
    assert "scripts/install --cluster" in told[0]


@pytest.mark.parametrize("right", ["_may_namespaces", "may_group", "_may_mount"])
def test_a_right_that_is_missing_is_named(
    right: str, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ci.os, "geteuid", lambda: 0)
    monkeypatch.setattr(ci, "PROGRAMS", {})
    monkeypatch.setattr(ci, "is_there", lambda _: True)
    for name in ("_may_namespaces", "may_group", "_may_mount"):
        monkeypatch.setattr(ci, name, lambda name=name: name != right)
    assert run(tmp_path, told, or_skip=True) == 0
    assert "without the rights" in told[0]


def test_what_is_left_of_a_lab_is_taken_away_before_one_is_made(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab that was killed leaves namespaces; with them there the `up` that is to be
    interrupted looked as if it had begun, and was before it could hear of it."""
    namespace = tmp_path / "okome-lab-switch"
    namespace.touch()
    monkeypatch.setattr(ci, "impossible", lambda _: None)
    monkeypatch.setattr(network, "_NETNS", tmp_path)
    monkeypatch.setattr(Lab, "down", lambda _: namespace.unlink(missing_ok=True))
    seen: list[list[str]] = []
    monkeypatch.setattr(ci, "_STEPS", (_step(seen),))
    assert run(tmp_path, told, or_skip=False) == 0
    assert seen == [[]]
    assert "network namespace okome-lab-switch" in told[0]


def _step(seen: list[list[str]]) -> Callable[[Lab, object], None]:
    def step(lab: Lab, _: object) -> None:
        """look at what there is"""
        seen.append(network.namespaces())

    return step
