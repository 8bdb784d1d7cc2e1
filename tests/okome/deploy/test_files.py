"""Ansible's module for small files: all of it or as before, and nothing where it is so already."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[3] / "playbooks/library/okome_files.py"


@pytest.fixture(name="files", scope="module")
def files_fixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("okome_files", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wanted(path: Path, **more: Any) -> dict[str, Any]:
    mine = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    return {"path": str(path), "content": None, "link": None, "mode": None, **mine, **more}


def test_each_is_made_once(files: ModuleType, tmp_path: Path) -> None:
    every = [
        wanted(tmp_path / "a/b", mode="0700"),
        wanted(tmp_path / "a/b/file", content="x\n", mode="0400"),
        wanted(tmp_path / "link", link="a/b"),
    ]
    assert [files.put(each, False) for each in every] == [True, True, True]
    assert [files.put(each, False) for each in every] == [False, False, False]
    assert (tmp_path / "link/file").read_text() == "x\n"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/b/file").stat().st_mode & 0o777 == 0o400


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    files: ModuleType, tmp_path: Path
) -> None:
    for each in (
        wanted(tmp_path / "dir"),
        wanted(tmp_path / "file", content="x", group="nobody-has-this-one"),
        wanted(tmp_path / "link", link="x"),
    ):
        assert files.put(each, True)
    assert list(tmp_path.iterdir()) == []


def test_content_and_mode_are_changed_and_a_link_leads_elsewhere(
    files: ModuleType, tmp_path: Path
) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    for each in (wanted(file, content="1"), wanted(link, link="a")):
        files.put(each, False)
    assert files.put(wanted(file, content="2"), False)
    assert files.put(wanted(file, content="2", mode="0600"), False)
    assert files.put(wanted(link, link="b"), False)
    assert (file.read_text(), str(link.readlink())) == ("2", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_file_that_cannot_be_put_there_leaves_nothing_behind(
    files: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.put(wanted(tmp_path / "file", content="x"), False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
