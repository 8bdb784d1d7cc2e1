"""Where the one-machine cluster keeps its files, and where its control socket lies."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from okome.errors import OkomeError

# A Unix socket's path must fit `sun_path`: 108 bytes with the final NUL (unix(7)).
SOCKET_PATH_MAX = 107


@dataclass(frozen=True, slots=True)
class Paths:
    """All files of one running cluster. `runtime` is short enough for a socket."""

    state: Path
    runtime: Path

    @property
    def credentials(self) -> Path:
        """Directory of keys, mode 0700."""
        return self.state / "credentials"

    @property
    def logs(self) -> Path:
        """One size-bounded log per process."""
        return self.state / "logs"

    @property
    def inventory(self) -> Path:
        """The inventory as it runs: the given one with what this machine changes."""
        return self.state / "inventory.yml"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.state / "lock"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket."""
        return self.runtime / "control"

    def of_process(self, name: str) -> Path:
        """State directory of one process."""
        return self.state / name

    def log(self, name: str) -> Path:
        """Log file of one process."""
        return self.logs / f"{name}.log"


def locate(cluster_name: str, environment: Mapping[str, str]) -> Paths:
    """The paths of a cluster. OKOME_STATE_DIR names the state directory outright."""
    override = environment.get("OKOME_STATE_DIR")
    if override:
        state = Path(override).absolute()
    else:
        state = _xdg(environment, "XDG_STATE_HOME", ".local/state") / "okome" / cluster_name
    # By the state directory and not by the environment of the moment: `okome status` in a
    # shell without XDG_RUNTIME_DIR must find what a login session has started.
    digest = hashlib.sha256(os.fsencode(os.path.realpath(state))).hexdigest()[:12]
    return Paths(state=state, runtime=Path(f"/tmp/okome-{os.getuid()}-{digest}"))  # noqa: S108


def cache_dir(environment: Mapping[str, str]) -> Path:
    """Where downloads are kept."""
    return _xdg(environment, "XDG_CACHE_HOME", ".cache") / "okome"


def own_policy(environment: Mapping[str, str]) -> Path | None:
    """The user's policy file, where there is one."""
    try:
        path = _xdg(environment, "XDG_CONFIG_HOME", ".config") / "okome" / "policy.yml"
    except OkomeError:  # who has no home has no file of their own
        return None
    return path if path.exists() else None


def _xdg(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = environment.get(variable, "")
    # The XDG specification: a relative path is invalid and is to be ignored.
    if value and Path(value).is_absolute():
        return Path(value)
    try:
        return Path.home() / fallback
    except RuntimeError as error:
        raise OkomeError(
            "no home directory is known; name one for OKOME's files with OKOME_STATE_DIR=DIR"
        ) from error


def make_private(directory: Path) -> None:
    """Creates `directory` with mode 0700, or refuses one that another user could write to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise OkomeError(
            f"{directory} cannot be made: {error.strerror}; name another place for OKOME's files "
            "with OKOME_STATE_DIR=DIR"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OkomeError(f"{directory} is not a directory of yours; remove it and try again")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)
