"""Where the native part can be built for nodes, and a real build."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from okome.deploy import native
from okome.deploy.pip import run_pip
from okome.deploy.wheels import TARGETS, Target
from okome.errors import OkomeError

# A node like this machine, with a C library that is not older.
LIKE_THIS = Target(platform.python_version(), platform.machine(), 99)


@pytest.fixture(name="sources")
def sources_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which is taken for the project's."""
    copy = tmp_path / "native"
    copy.mkdir()
    for name in ("okome_native.pyx", "setup.py", "pyproject.toml"):
        shutil.copy(native.SOURCE / name, copy)
    monkeypatch.setattr(native, "SOURCE", copy)
    return copy


@pytest.fixture(name="tools")
def tools_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler and headers, as far as one looks for them."""
    include = tmp_path / "include"
    include.mkdir()
    (include / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(include))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))


def test_for_nodes_with_this_python_and_machine_only(tools: None) -> None:
    told: list[str] = []
    others = {target.name: target for target in TARGETS.values()}
    others.pop(LIKE_THIS.name, None)
    found = native.planned([LIKE_THIS, *others.values()], told.append)
    assert list(found) == [LIKE_THIS.name]
    assert len(told) == len(others)
    for name, line in zip(others, told, strict=True):
        assert line.startswith(f"without the native part for {name} (this machine builds for ")


def test_not_by_a_newer_c_library_than_the_nodes(
    tools: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Target(LIKE_THIS.python, LIKE_THIS.machine, 36)
    assert native.fault(old) is None
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.37"))
    assert native.fault(old) == "this machine's glibc 2.37 is newer than theirs, 2.36"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert native.fault(old) == "this machine's C library is not glibc"


def test_each_system_has_its_c_library() -> None:
    assert {name: target.glibc_minor for name, target in TARGETS.items()} == {
        "debian-12": 36,
        "debian-12-arm64": 36,
        "ubuntu-24.04": 39,
        "ubuntu-24.04-arm64": 39,
    }


def test_a_compiler_and_headers_are_asked_for(
    tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert native.fault(LIKE_THIS) is None
    (tmp_path / "include" / "Python.h").unlink()
    assert "python3-dev" in (native.fault(LIKE_THIS) or "")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "gcc" in (native.fault(LIKE_THIS) or "")


def test_its_mark_goes_by_the_sources_alone(tools: None, sources: Path) -> None:
    def mark() -> dict[str, str]:
        return native.planned([LIKE_THIS], print)

    first = mark()
    (sources / "okome_native.c").write_text("made by hand")
    assert mark() == first
    with (sources / "okome_native.pyx").open("a") as file:
        file.write("# more\n")
    assert mark() != first


def test_a_build_that_fails_is_told_of(sources: Path, tmp_path: Path) -> None:
    (sources / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "nothing"\n', encoding="utf-8"
    )
    told: list[str] = []
    assert native.build(tmp_path / "out", told.append) is None
    assert len(told) == 1
    assert told[0].startswith("without the native part (pip wheel failed: ERROR")


@pytest.fixture(name="registry")
def registry_fixture(tmp_path: Path) -> None:
    """What builds it is fetched."""
    try:
        run_pip("download", "--no-deps", "--dest", str(tmp_path / "fetched"), "Cython>=3.1")
    except OkomeError:
        pytest.skip("needs a package registry")


@pytest.mark.skipif(native.fault(LIKE_THIS) is not None, reason=f"{native.fault(LIKE_THIS)}")
def test_what_is_built_can_be_loaded(registry: None, tmp_path: Path) -> None:
    before = sorted(native.SOURCE.rglob("*"))
    built = native.build(tmp_path / "a place", print)
    assert built is not None
    assert sorted(native.SOURCE.rglob("*")) == before
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "site")
    look = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import okome_native as n"
    told = "print(n.__file__, n.Intake.__name__, n.Outlet.__name__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{look}; {told}"], capture_output=True, text=True, check=True
    )
    place, *names = done.stdout.split()
    assert Path(place).parent == tmp_path / "site"
    assert names == ["Intake", "Outlet"]
