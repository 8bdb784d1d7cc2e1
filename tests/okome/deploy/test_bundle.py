"""What a bundle is made of, and what of an earlier one is used again."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from okome.deploy import bundle
from okome.deploy.bundle import make_bundle
from okome.deploy.wheels import TARGETS

TARGET = TARGETS["debian-12"]


def wheel(directory: Path, name: str, requires: str, content: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}"
        archive.writestr(f"{name}-1.0.dist-info/METADATA", head)
        wheel_text = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", wheel_text)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
        archive.writestr(f"{name}.py", content)
    return path


class Source:
    """The project, as far as a bundle sees it, and a registry with one package."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content, self.requires, self.downloads = "x = 1\n", "Requires-Dist: other\n", 0
        self.target = place / "out"
        self._place = place
        monkeypatch.setattr(bundle, "_own_wheel", self._own)
        monkeypatch.setattr(bundle, "_wheels", self._gathered)
        monkeypatch.setattr(bundle, "_made_of", lambda *_: self.content + self.requires)

    def _own(self, directory: Path) -> Path:
        return wheel(directory, "okome", self.requires, self.content)

    def _gathered(self, own: Path, extra: str, target: object, work: Path) -> list[Path]:
        self.downloads += 1
        return [own, wheel(work / (extra or "core"), "other", "", "y = 1\n")]

    def bundled(self, anew: bool = False) -> str:
        return make_bundle([TARGET], False, self.target, self._place, print, anew)

    def names(self) -> set[str]:
        return {path.name for path in self.target.iterdir()}


@pytest.fixture(name="source")
def source_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(tmp_path, monkeypatch)


def test_a_change_of_our_own_gathers_nothing_again(source: Source) -> None:
    first = source.bundled()
    before = source.names()
    source.content = "x = 2\n"
    second = source.bundled()
    assert first != second
    assert source.downloads == 1
    (libraries,) = {name for name in before & source.names() if name.startswith("libraries-")}
    assert source.names() == {"bundle.json", libraries, f"{second}-{TARGET.name}.tar"}


def test_other_requirements_and_a_wish_for_newer_packages_gather_again(source: Source) -> None:
    source.bundled()
    source.requires = "Requires-Dist: other>=1\n"
    source.bundled()
    assert source.downloads == 2
    source.bundled(anew=True)
    assert source.downloads == 3


def test_an_archive_ends_with_the_mark_that_it_is_whole(source: Source) -> None:
    release = source.bundled()
    with tarfile.open(source.target / f"{release}-{TARGET.name}.tar") as archive:
        names = archive.getnames()
    assert names[-1] == "complete"
    assert "site-packages/okome.py" in names
    assert "site-packages/other.py" not in names


def test_what_a_killed_run_has_left_is_removed(source: Source) -> None:
    (source.target / ".work-abc/x").mkdir(parents=True)
    (source.target / "libraries-0-cp311.part").touch()
    release = source.bundled()
    assert all(not name.startswith(".work-") and "part" not in name for name in source.names())
    assert source.bundled() == release
