"""`okome bundle`: everything that nodes install and the distribution has not, in one folder.

    bundle.json                  the release, and the archives of each kind of node
    RELEASE-TARGET.tar           OKOME and all it needs, installed: a `site-packages`
    RELEASE-TARGET-engine.tar    what the embedded engine needs beyond that, and its model

Wheels are gathered for each kind of node and installed here, once: a node only unpacks. A
release is named by version and content: the same content has the same name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from okome.deploy.wheels import Target, missing, name_of, requirements_of
from okome.errors import OkomeError
from okome.model import ensure_model

SOURCE = Path(__file__).parents[2]
_ROUNDS = 10
_NOT_BUILT = (
    ".*", "build", "dist", "tests", "bench", "lab", "docs", "playbooks", "scripts",
    "__pycache__", "*.egg-info",
)  # fmt: skip


def make_bundle(
    targets: Iterable[Target], engine: bool, directory: Path, cache: Path,
    report: Callable[[str], None],
) -> str:  # fmt: skip
    """Writes the folder and returns the release's name. Raises OkomeError."""
    directory.mkdir(parents=True, exist_ok=True)
    targets = list(targets)
    made_of = _made_of(targets, engine)
    if (there := _there(directory, made_of)) is not None:
        return there
    with tempfile.TemporaryDirectory(dir=directory) as work:
        own = _own_wheel(Path(work) / "own")
        gathered = {target: _wheels(own, "", target, Path(work)) for target in targets}
        engines = {t: _wheels(own, "engine", t, Path(work)) for t in targets} if engine else {}
        release = _release_name(own, [*gathered.values(), *engines.values()])
        archives: dict[str, dict[str, str]] = {}
        for target, wheels in gathered.items():
            names = {"core": f"{release}-{target.name}.tar"}
            _pack(directory / names["core"], _installed(wheels, target, Path(work)), None)
            if target in engines:
                names["engine"] = f"{release}-{target.name}-engine.tar"
                only = {path.name for path in wheels}
                more = [path for path in engines[target] if path.name not in only]
                tree = _installed(more, target, Path(work) / "engine")
                _pack(directory / names["engine"], tree, ensure_model(cache, report))
            archives[target.name] = names
    described = {"release": release, "made_of": made_of, "archives": archives}
    content = json.dumps(described, indent=2) + "\n"
    unfinished = directory / ".bundle.json.new"
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(directory / "bundle.json")
    _remove_older(directory, archives)
    return release


def _made_of(targets: Iterable[Target], engine: bool) -> str:
    """Differs when another bundle would come out of it, but for newer packages of others."""
    digest = hashlib.sha256(repr((sorted(target.name for target in targets), engine)).encode())
    for top in sorted(path for path in SOURCE.iterdir() if _is_built(path)):
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(SOURCE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _is_built(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").exists() and path.name not in _NOT_BUILT
    return path.name in ("pyproject.toml", "README.md", "LICENSE")


def _there(directory: Path, made_of: str) -> str | None:
    """The release in the folder, when it was made of the same and all of it is there."""
    try:
        described = json.loads((directory / "bundle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = [name for each in described["archives"].values() for name in each.values()]
    if described.get("made_of") != made_of or not all((directory / n).exists() for n in names):
        return None
    return str(described["release"])


def _own_wheel(directory: Path) -> Path:
    if not (SOURCE / "pyproject.toml").exists():
        raise OkomeError("a bundle is made from the project's source, which is not here")
    # Of a copy: a build leaves its files in the source, and later takes in what was deleted.
    copy = directory / "source"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(*_NOT_BUILT))
    _pip("wheel", "--no-deps", "--wheel-dir", str(directory), str(copy))
    (wheel,) = directory.glob("okome-*.whl")
    return wheel


def _wheels(own: Path, extra: str, target: Target, work: Path) -> list[Path]:
    """The wheel itself and all that it needs on the target, also what pip leaves out."""
    place = work / f"{target.name}-{extra or 'core'}"
    place.mkdir()
    (place / own.name).hardlink_to(own)
    for _ in range(_ROUNDS):
        wheels = sorted(place.glob("*.whl"))
        asked = [
            (text, extra if wheel.name == own.name else "")
            for wheel in wheels
            for text in requirements_of(wheel)
        ]
        lacking = missing(asked, {name_of(wheel) for wheel in wheels}, target)
        if not lacking:
            return wheels
        _pip("download", *target.pip_options(), "--dest", str(place), *lacking)
    raise OkomeError(f"the packages for {target.name} need ever more: {', '.join(lacking)}")


def _release_name(own: Path, gathered: Iterable[list[Path]]) -> str:
    """Of the own wheel by its content (its files' times differ), of others by their names."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(own) as archive:
        entries = sorted((entry.filename, entry.CRC) for entry in archive.infolist())
    for entry in entries:
        digest.update(repr(entry).encode())
    for name in sorted({path.name for wheels in gathered for path in wheels}):
        digest.update(name.encode())
    return f"{own.name.split('-')[1]}-{digest.hexdigest()[:10]}"


def _installed(wheels: Iterable[Path], target: Target, work: Path) -> Path:
    """The wheels as they lie in a `site-packages` of the target."""
    tree = work / f"{target.name}-installed"
    offline = ("--no-index", "--no-deps", "--no-compile", "--target", str(tree))
    _pip("install", *target.pip_options(), *offline, *map(str, wheels))
    # Scripts for this machine's Python.
    shutil.rmtree(tree / "bin", ignore_errors=True)
    if target.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}."):
        # Not by files' times, which differ on every node. Where another Python is wanted, it
        # compiles at each start: nothing can be written there.
        command = [sys.executable, "-m", "compileall", "-q", "-s", str(tree), str(tree)]
        subprocess.run([*command, "--invalidation-mode", "unchecked-hash"], check=False)
    return tree


def _pack(archive: Path, tree: Path, model: Path | None) -> None:
    unfinished = archive.with_suffix(".part")
    with tarfile.open(unfinished, "w") as tar:
        tar.add(tree, "site-packages", filter=_plain)
        if model is not None:
            tar.add(model, f"models/{model.name}", filter=_plain)
    unfinished.replace(archive)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Readable by everybody, and the same each time."""
    entry.mode, entry.mtime = 0o755 if entry.isdir() else 0o644, 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _remove_older(directory: Path, archives: dict[str, dict[str, str]]) -> None:
    keep = {name for names in archives.values() for name in names.values()}
    for path in directory.glob("*.tar"):
        if path.name not in keep:
            path.unlink()


def _pip(verb: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = said[-1] if said else f"exit status {done.returncode}"
        raise OkomeError(f"pip {verb} failed: {reason}; is there a network or a mirror?")
