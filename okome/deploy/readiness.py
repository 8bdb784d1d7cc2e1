"""What the machine has and lacks from which a cluster of other machines is deployed."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from inventory.model import Cluster
from okome.deploy.certificates import all_certificates, soon
from okome.errors import OkomeError

_SHOWN = 3


class Look(NamedTuple):
    """As a finding of `okome doctor`."""

    check: str
    level: Literal["ok", "lacking", "bad"]
    message: str


def look(cluster: Cluster, secrets: Path, now: datetime.datetime) -> Iterator[Look]:
    """All of it."""
    yield _ansible(Path(sys.executable).with_name("ansible-playbook"))
    yield certificates(cluster, secrets, now)


def certificates(cluster: Cluster, secrets: Path, now: datetime.datetime) -> Look:
    """Which of those in `secrets` expire soon, or have."""
    if not secrets.exists():
        return Look("certificates", "ok", f"none yet in {secrets}; the first deployment makes them")
    try:
        held = all_certificates(cluster, secrets)
    except (OkomeError, OSError) as error:
        return Look("certificates", "bad", str(error))
    near = soon(held, now)
    if not near:
        first = f"; {held[0].left}, before all others" if held else ", or all are encrypted"
        return Look("certificates", "ok", f"none expires soon{first}")
    named = "; ".join(each.left for each in near[:_SHOWN]) + ("; …" if near[_SHOWN:] else "")
    level: Literal["lacking", "bad"] = "bad" if near[0].expires <= now else "lacking"
    remedy = "play site.yml, which makes those of the cluster's own anew"
    return Look("certificates", level, f"{named} ({remedy})")


def _ansible(program: Path) -> Look:
    if program.exists():
        return Look("ansible", "ok", str(program))
    return Look("ansible", "lacking", "without it nothing is deployed (scripts/install --cluster)")
