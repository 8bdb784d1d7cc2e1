"""The playbooks, played in the lab as an operator plays them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.lab import ROOT, Lab
from lab.shell import LabError, run
from okome.paths import cache_dir

Report = Callable[[str], None]
_CHANGED = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) ")


@dataclass(frozen=True, slots=True)
class Played:
    """Ansible's exit status; `HOST (N)` for every host where something changed; what it said,
    each run of white space as one space."""

    status: int
    changed: list[str]
    said: str


def bundle_dir() -> Path:
    """Where `okome bundle` puts it."""
    return cache_dir(os.environ) / "bundle"


def bundle() -> None:
    """Gathers what nodes install. Raises LabError."""
    command = [program("okome"), "bundle", "--engine", "--output", str(bundle_dir())]
    if subprocess.run(command, check=False).returncode != 0:
        raise LabError("the bundle could not be made")


def program(name: str) -> str:
    """One of the environment that this runs in."""
    return str(Path(sys.executable).parent / name)


def play(lab: Lab, name: str, report: Report, *words: str, until: str | None = None) -> int:
    """Plays `playbooks/NAME.yml`; returns Ansible's exit status. With `until` it is killed at
    the first line that begins so."""
    return played(lab, name, report, *words, until=until).status


def play_unchanged(lab: Lab, name: str, report: Report) -> None:
    """Plays it again. Raises LabError when it fails, or changes anything."""
    again = played(lab, name, report)
    if again.status != 0:
        raise LabError(f"playbooks/{name}.yml failed")
    if again.changed:
        raise LabError(f"playbooks/{name}.yml, played again, changed {', '.join(again.changed)}")


def upgrade(lab: Lab, report: Report, sick: str | None, *words: str) -> int:
    """Plays upgrade.yml with a release that has another name. On the host `sick` it cannot run."""
    place = lab.state / "bundle"
    release = _renamed_bundle(place)
    if sick is not None:
        # Whole, as far as one sees, with nothing inside.
        broken = f"/opt/okome/releases/{release}"
        run(*lab.ssh(sick, f"sudo sh -c 'mkdir -p {broken} && touch {broken}/complete'"))
    return play(lab, "upgrade", report, "-e", f"okome_bundle_dir={place}", *words)


def _renamed_bundle(place: Path) -> str:
    """The bundle under another release's name. Returns that."""
    source = place if place.exists() else bundle_dir()
    described = json.loads((source / "bundle.json").read_text(encoding="utf-8"))
    stem, _, count = described["release"].partition("-again")
    described["release"] = f"{stem}-again{int(count or 0) + 1}"
    if source != place:
        shutil.copytree(source, place)
    (place / "bundle.json").write_text(json.dumps(described), encoding="utf-8")
    return str(described["release"])


def played(lab: Lab, name: str, report: Report, *words: str, until: str | None = None) -> Played:
    """As `play`, with all that came of it."""
    began = time.monotonic()
    command = lab.outside(
        program("ansible-playbook"),
        *("-i", str(lab.inventory), f"--ssh-common-args=-F {lab.ssh_config}"),
        *("-e", f"okome_secrets_dir={lab.secrets}", "-e", f"okome_backup_dir={lab.backups}"),
        *("-e", json.dumps({"okome_alerts": {"webhooks": [lab.told_of_alerts]}})),
        *(f"playbooks/{name}.yml", *words),
    )
    # Its connections and temporary files go with the lab.
    environment = {
        **os.environ,
        "ANSIBLE_HOME": str(lab.ansible_home),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(lab.ansible_home / "cp"),
        "PYTHONPATH": str(ROOT),
    }
    changed, lines = [], []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as playing:
        assert playing.stdout is not None  # noqa: S101 - it was asked for above
        try:
            for line in playing.stdout:
                print(line, end="", flush=True)
                lines.append(line)
                match = _CHANGED.match(line)
                if until is not None and line.startswith(until):
                    playing.kill()
                if match and match[2] != "0":
                    changed.append(f"{match[1]} ({match[2]})")
        except BaseException:
            # Else it would go on by itself.
            playing.terminate()
            raise
    report(f"playbooks/{name}.yml took {time.monotonic() - began:.1f} s")
    return Played(playing.returncode, changed, " ".join(" ".join(lines).split()))
