"""What a node needs is judged by the node's Python, not by this machine's."""

from __future__ import annotations

import zipfile
from pathlib import Path

from okome.deploy.wheels import TARGETS, missing, name_of, requirements_of

DEBIAN, UBUNTU = TARGETS["debian-12"], TARGETS["ubuntu-24.04"]
OLD_ONLY = 'async-timeout>=4.0.3; python_full_version < "3.11.3"'


def test_a_package_for_older_pythons_is_needed_where_those_run() -> None:
    assert missing([(OLD_ONLY, "")], set(), DEBIAN) == ["async-timeout>=4.0.3"]
    assert missing([(OLD_ONLY, "")], set(), UBUNTU) == []


def test_what_is_there_and_extras_nobody_asked_for_are_not_needed() -> None:
    asked = [("Redis>=7", ""), ('xllamacpp>=1; extra == "engine"', ""), ("a_b", "")]

    assert missing(asked, {"redis", "a-b"}, DEBIAN) == []
    assert missing([(asked[1][0], "engine")], set(), DEBIAN) == ["xllamacpp>=1"]


def test_a_wheel_says_what_it_requires(tmp_path: Path) -> None:
    wheel = tmp_path / "Some_Thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        text = (
            "Metadata-Version: 2.4\nName: Some_Thing\nRequires-Dist: one>=1\nRequires-Dist: two\n"
        )
        archive.writestr("some_thing-1.0.dist-info/METADATA", text)

    assert name_of(wheel) == "some-thing"
    assert requirements_of(wheel) == ["one>=1", "two"]


def test_targets_are_told_apart_by_python_and_machine() -> None:
    assert DEBIAN.name == "cp311-x86_64"
    assert len({target.name for target in TARGETS.values()}) == len(TARGETS)
    options = UBUNTU.pip_options()
    assert "--python-version=3.12" in options
    assert "manylinux_2_36_x86_64" in options
    assert "manylinux_2_39_x86_64" not in options
