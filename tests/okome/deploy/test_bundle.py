"""What a bundle is made of, and what of an earlier one is used again."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from okome.deploy import bundle, native
from okome.deploy.bundle import make_bundle
from okome.deploy.wheels import TARGETS, Target

TARGET, OTHER = TARGETS["debian-12"], TARGETS["ubuntu-24.04"]


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
    """The project, as far as a bundle sees it, and a registry with one package. The native part
    can be built for TARGET while `native` is not None, and has it for its content; with
    `breaks` the build fails."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content, self.requires, self.downloads = "x = 1\n", "Requires-Dist: other\n", 0
        self.native: str | None = None
        self.breaks = False
        self.target = place / "out"
        self._place = place
        monkeypatch.setattr(bundle, "_own_wheel", self._own)
        monkeypatch.setattr(bundle, "_wheels", self._gathered)
        monkeypatch.setattr(
            bundle, "_made_of", lambda *asked: f"{self.content}{self.requires}{asked[2]}"
        )
        monkeypatch.setattr(native, "planned", self._planned)
        monkeypatch.setattr(native, "build", self._built)

    def _own(self, directory: Path) -> Path:
        return wheel(directory, "okome", self.requires, self.content)

    def _gathered(self, own: Path, extra: str, target: object, work: Path) -> list[Path]:
        self.downloads += 1
        return [own, wheel(work / (extra or "core"), "other", "", "y = 1\n")]

    def _planned(self, targets: list[Target], report: object) -> dict[str, str]:
        return {} if self.native is None else {TARGET.name: self.native}

    def _built(self, directory: Path, report: object) -> Path | None:
        return None if self.breaks else wheel(directory, "okome_native", "", self.native or "")

    def bundled(self, anew: bool = False, targets: tuple[Target, ...] = (TARGET,)) -> str:
        return make_bundle(targets, False, self.target, self._place, print, anew)

    def files(self, release: str, target: Target = TARGET) -> list[str]:
        with tarfile.open(self.target / f"{release}-{target.name}.tar") as archive:
            return archive.getnames()

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
    names = source.files(release)
    assert names[-1] == "complete"
    assert "site-packages/okome.py" in names
    assert "site-packages/other.py" not in names


def test_what_a_killed_run_has_left_is_removed(source: Source) -> None:
    (source.target / ".work-abc/x").mkdir(parents=True)
    (source.target / "libraries-0-cp311.part").touch()
    release = source.bundled()
    assert all(not name.startswith(".work-") and "part" not in name for name in source.names())
    assert source.bundled() == release


def test_the_native_part_goes_to_the_targets_that_it_was_built_for(source: Source) -> None:
    source.native = "z = 1\n"
    release = source.bundled(targets=(TARGET, OTHER))
    assert "site-packages/okome_native.py" in source.files(release)
    assert "site-packages/okome.py" in source.files(release, OTHER)
    assert "site-packages/okome_native.py" not in source.files(release, OTHER)


def test_a_release_is_another_with_another_native_part_or_none(source: Source) -> None:
    releases = []
    for source.native in (None, "z = 1\n", "z = 2\n"):
        releases.append(source.bundled())
        assert source.bundled() == releases[-1]
    assert len(set(releases)) == 3
    source.native = None
    assert source.bundled() == releases[0]
    assert source.downloads == 1


def test_without_a_native_part_that_cannot_be_built_until_it_can(source: Source) -> None:
    without = source.bundled()
    source.native, source.breaks = "z = 1\n", True
    assert source.bundled() == without
    source.breaks = False
    assert "site-packages/okome_native.py" in source.files(source.bundled())
