"""`okome bundle`: everything that nodes install and the distribution has not, in one folder.

    bundle.json                       the release, the archives of each kind of node, and the
                                      distribution's packages that are installed beside them
    RELEASE-TARGET.tar                OKOME itself, installed: a `site-packages`; with the native
                                      part, where this machine can build it for the target
    libraries-CONTENT-TARGET.tar      all that it needs, likewise
    engine-CONTENT-TARGET.tar         what the embedded engine needs beyond that, and its model

Wheels are gathered for each kind of node and installed here, once: a node only unpacks, and
what it has of an earlier release it does not get again. The last file of an archive is
`complete`. A release is named by version and content: the same content has the same name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from okome.deploy import native
from okome.deploy.packages import all_packages
from okome.deploy.pip import run_pip
from okome.deploy.wheels import Target, missing, name_of, requirements_of
from okome.errors import OkomeError
from okome.model import ensure_model

SOURCE = Path(__file__).parents[2]
_ROUNDS = 10
_WORK = ".work-"
_NOT_BUILT = (
    ".*", "build", "dist", "tests", "bench", "lab", "docs", "playbooks", "scripts",
    "__pycache__", "*.egg-info",
)  # fmt: skip


def make_bundle(
    targets: Iterable[Target], engine: bool, directory: Path, cache: Path,
    report: Callable[[str], None], anew: bool = False,
) -> str:  # fmt: skip
    """Writes the folder and returns the release's name. `anew`: the newest packages of others,
    also where those of before would do. Raises OkomeError."""
    directory.mkdir(parents=True, exist_ok=True)
    targets = list(targets)
    natives = native.planned(targets, report)
    made_of = _made_of(targets, engine, natives)
    if not anew and (there := _there(directory, made_of)) is not None:
        return there
    with tempfile.TemporaryDirectory(dir=directory, prefix=_WORK) as work:
        own = _own_wheel(Path(work) / "own")
        part = native.build(Path(work) / "native", report) if natives else None
        if natives and part is None:
            # The next bundle tries again.
            natives, made_of = {}, _made_of(targets, engine, {})
        shelf = _Shelf(own, directory, Path(work), anew)
        archives = {}
        for target in targets:
            archives[target.name] = {"libraries": shelf.libraries(target)}
            if engine:
                model = ensure_model(cache, report)
                archives[target.name]["engine"] = shelf.engine(target, model)
        ours = {t: [own, part] if part and t.name in natives else [own] for t in targets}
        release = _release_name(ours, [n for names in archives.values() for n in names.values()])
        for target in targets:
            name = archives[target.name]["okome"] = f"{release}-{target.name}.tar"
            _pack(directory / name, _installed(ours[target], target, Path(work) / "okome"), None)
    described = {
        "release": release,
        "made_of": made_of,
        "archives": archives,
        "packages": all_packages(),
    }
    content = json.dumps(described, indent=2) + "\n"
    unfinished = directory / ".bundle.json.new"
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(directory / "bundle.json")
    _remove_older(directory, archives)
    return release


class _Shelf:
    """The archives with packages of others: made when OKOME asks for others than before."""

    def __init__(self, own: Path, directory: Path, work: Path, anew: bool) -> None:
        self._own = own
        self._directory = directory
        self._work = work
        self._anew = anew
        self._core: dict[Target, list[Path]] = {}

    def libraries(self, target: Target) -> str:
        """The name of the archive."""
        return self._there("libraries", target) or self._pack(
            "libraries", target, self._gathered(target), None
        )

    def engine(self, target: Target, model: Path) -> str:
        """The same, of what the engine needs beyond the libraries."""
        if there := self._there("engine", target):
            return there
        core = {path.name for path in self._gathered(target)}
        both = _wheels(self._own, "engine", target, self._work)
        return self._pack("engine", target, [w for w in both if w.name not in core], model)

    def _gathered(self, target: Target) -> list[Path]:
        if target not in self._core:
            self._core[target] = _wheels(self._own, "", target, self._work)
        return self._core[target]

    def _asked(self, kind: str) -> str:
        """Differs when OKOME asks for something else, or this module packs otherwise."""
        asked = [*sorted(requirements_of(self._own)), kind]
        content = Path(__file__).read_bytes() + repr(asked).encode()
        return hashlib.sha256(content).hexdigest()[:8]

    def _there(self, kind: str, target: Target) -> str | None:
        found = sorted(self._directory.glob(f"{kind}-{self._asked(kind)}*-{target.name}.tar"))
        return found[-1].name if found and not self._anew else None

    def _pack(self, kind: str, target: Target, wheels: list[Path], model: Path | None) -> str:
        theirs = [wheel for wheel in wheels if wheel.name != self._own.name]
        content = hashlib.sha256("".join(wheel.name for wheel in theirs).encode()).hexdigest()
        name = f"{kind}-{self._asked(kind)}{content[:8]}-{target.name}.tar"
        _pack(self._directory / name, _installed(theirs, target, self._work / kind), model)
        return name


def _made_of(targets: Iterable[Target], engine: bool, natives: dict[str, str]) -> str:
    """Differs when another bundle would come out of it, but for newer packages of others."""
    asked = (sorted(target.name for target in targets), engine, sorted(natives.items()))
    digest = hashlib.sha256(repr(asked).encode())
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
    run_pip("wheel", "--no-deps", "--wheel-dir", str(directory), str(copy))
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
        run_pip("download", *target.pip_options(), "--dest", str(place), *lacking)
    raise OkomeError(f"the packages for {target.name} need ever more: {', '.join(lacking)}")


def _release_name(ours: dict[Target, list[Path]], archives: Iterable[str]) -> str:
    """Of our wheels by their content (their files' times differ), of others by their names."""
    content = sorted((t.name, [_entries(wheel) for wheel in wheels]) for t, wheels in ours.items())
    digest = hashlib.sha256(repr((content, sorted(archives))).encode())
    (own, *_), *_ = ours.values()
    return f"{own.name.split('-')[1]}-{digest.hexdigest()[:10]}"


def _entries(wheel: Path) -> list[tuple[str, int]]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted((entry.filename, entry.CRC) for entry in archive.infolist())


def _installed(wheels: Iterable[Path], target: Target, work: Path) -> Path:
    """The wheels as they lie in a `site-packages` of the target."""
    tree = work / f"{target.name}-installed"
    offline = ("--no-index", "--no-deps", "--no-compile", "--target", str(tree))
    run_pip("install", *target.pip_options(), *offline, *map(str, wheels))
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
        # Whoever finds it has all the others.
        tar.addfile(_plain(tarfile.TarInfo("complete")))
    unfinished.replace(archive)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Readable by everybody, and the same each time."""
    entry.mode, entry.mtime = 0o755 if entry.isdir() else 0o644, 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _remove_older(directory: Path, archives: dict[str, dict[str, str]]) -> None:
    keep = {name for names in archives.values() for name in names.values()}
    for path in (*directory.glob("*.tar"), *directory.glob("*.part")):
        if path.name not in keep:
            path.unlink()
    # Of a run that was killed.
    for work in directory.glob(f"{_WORK}*"):
        shutil.rmtree(work, ignore_errors=True)
