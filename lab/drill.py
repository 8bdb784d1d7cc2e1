"""Something is broken while a client reads: how long did who wait, and was anything lost?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from lab import engine
from lab.drills import DRILLS, Drill, settle
from lab.lab import ROOT, Lab
from lab.shell import LabError

# Of a client that comes back: it takes a connection for dead after that, and asks again.
_NEAR_S = 0.5


def chosen(keys: Iterable[str]) -> list[Drill]:
    """Those that are named, or all but the long ones. Raises LabError for an unknown name."""
    wanted = list(keys)
    known = {drill.key: drill for drill in DRILLS}
    for key in wanted:
        if key not in known:
            raise LabError(f"no drill is called {key}; there are {', '.join(known)}")
    return [known[key] for key in wanted] or [drill for drill in DRILLS if not drill.long]


def drill(lab: Lab, report: Callable[[str], None], keys: Iterable[str]) -> list[dict[str, Any]]:
    """Every drill in turn; each result says in `faults` what was not as it should be. Raises
    LabError for one that cannot be carried out."""
    results = []
    for each in chosen(keys):
        result = {"drill": each.key, **judged(each, _run(lab, each))}
        results.append(result)
        report(line(each, result))
        if each.mend is not None:
            each.mend(lab)
        settle(lab)
    return results


def _run(lab: Lab, each: Drill) -> dict[str, Any]:
    given = ["--inventory", str(lab.inventory), "--secrets", str(lab.secrets)]
    given += [f"--tokens={int(each.seconds * each.rate)}", f"--rate={each.rate:g}"]
    given += [f"--model={engine.MODEL}", f"--lasting={each.lasting}"]
    command = [sys.executable, "-P", "-m", "lab.watch", *given]
    command += [f"--timeout={each.lasting + each.seconds + 120}"]
    with subprocess.Popen(
        lab.outside(*command), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as watch:
        assert watch.stdout is not None  # noqa: S101 - it was asked for above
        if watch.stdout.readline().strip() != "ready":
            raise LabError(f"{each.name}: the client's streams did not begin")
        struck = time.monotonic()
        each.strike(lab)
        said = watch.stdout.read().strip()
    if not said:
        raise LabError(f"{each.name}: the client ended without a result")
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    # The machine has one monotonic clock, for that process too.
    return {**result, "struck": struck}


def judged(each: Drill, result: dict[str, Any]) -> dict[str, Any]:
    """The result's figures against the drill's bounds."""
    streams = result["streams"]
    hit = [s for s in streams if each.home in (None, s["home"])]
    others = [s for s in streams if s not in hit]
    gaps, elsewhere = (_gaps(some, result["struck"]) for some in (hit, others))
    figures = {
        "hit_s": max((gap["length"] for gap in gaps), default=0.0),
        "others_s": max((gap["length"] for gap in elsewhere), default=0.0),
        "others_own_s": max((_excess(gap, result["late"]) for gap in elsewhere), default=0.0),
        "recovered_s": max((gap["at"] + gap["length"] for gap in gaps), default=result["struck"])
        - result["struck"],
        "vip_s": max(result["vip_away_s"], default=0.0),
        "lost": sum(s["lost"] + s["skipped"] for s in streams),
        "repeated": sum(s["repeated"] for s in streams),
        "other_texts": sum(not s["same_text"] for s in streams),
        "ends": sorted({s["end"] or "none" for s in streams}),
    }
    return {**figures, "faults": _faults(each, figures), **result}


def _gaps(streams: list[dict[str, Any]], struck: float) -> list[dict[str, float]]:
    """Those that were not over when it was struck."""
    return [gap for s in streams for gap in s["gaps"] if gap["at"] + gap["length"] > struck]


def _excess(gap: dict[str, float], late: list[list[float]]) -> float:
    """What of a gap neither the engine nor the client's own waiting for a core has made."""
    own = sum(
        by for when, by in late
        if gap["at"] - _NEAR_S < when < gap["at"] + gap["length"] + _NEAR_S
    )  # fmt: skip
    return max(0.0, gap["length"] - max(gap["engine"] or 0.0, own))


def _faults(each: Drill, figures: dict[str, Any]) -> list[str]:
    over = {
        "hit_s": each.hit,
        "others_own_s": each.others if each.others is not None else 3600.0,
        "vip_s": each.vip,
        "lost": 0,
        "repeated": 0,
        "other_texts": 0,
    }
    found = [f"{name} {figures[name]} > {most}" for name, most in over.items()
             if figures[name] > most]  # fmt: skip
    return found + [f"an answer ended by {end}" for end in figures["ends"]
                    if not end.startswith(each.end)]  # fmt: skip


def line(each: Drill, result: dict[str, Any]) -> str:
    """For a person."""
    late = max((by for _, by in result["late"]), default=0.0)
    parts = [
        f"longest gap {result['hit_s']:.2f} s",
        f"elsewhere {result['others_s']:.2f} s ({result['others_own_s']:.2f} s its own)",
        f"whole again after {result['recovered_s']:.2f} s",
        f"VIP away {result['vip_s']:.2f} s",
        f"lost {result['lost']}, repeated {result['repeated']}",
        f"ends: {', '.join(result['ends'])}",
        f"the machine kept the client waiting up to {late:.2f} s",
    ]
    faults = f"; FAULTS: {'; '.join(result['faults'])}" if result["faults"] else ""
    return f"{each.key}: {'; '.join(parts)}{faults}"
