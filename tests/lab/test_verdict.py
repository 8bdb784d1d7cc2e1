"""What a drill on a running cluster has come to, by what its client has read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.verdict import parser, verdict

ROOT = Path(__file__).parents[2]
BOUNDS = ["broker-kill", "--struck=100", "--hit=3", "--others=0.1", "--home=n04w0"]


def read(own: float, other: float, silent: float | None) -> dict[str, Any]:
    """Two streams, each with a gap; `silent`: for how long the other one's broker heard nothing."""

    def stream(home: str, length: float, broker: float | None) -> dict[str, Any]:
        gap = {"at": 100.2, "length": length, "engine": None, "broker": broker}
        whole = {"lost": 0, "skipped": 0, "repeated": 0, "same_text": True}
        return {"home": home, "gaps": [gap], "end": "job_complete stop", **whole}

    streams = [stream("n04w0", own, None), stream("n05w0", other, silent)]
    return {"streams": streams, "late": [], "vip_away_s": []}


@pytest.mark.parametrize(
    ("own", "other", "silent", "well"),
    [
        (2.2, 0.05, None, True),
        (3.2, 0.05, None, False),
        (2.2, 0.5, None, False),
        # The engine paused, and everybody saw it.
        (2.2, 0.5, 0.45, True),
    ],
)
def test_bounds_hold_or_do_not(own: float, other: float, silent: float | None, well: bool) -> None:
    text, found = verdict(parser().parse_args(BOUNDS), read(own, other, silent))

    assert found is well
    assert text.startswith(f"broker-kill: longest gap {own:.2f} s")
    assert ("FAULTS" in text) is not well


def test_the_playbook_gets_a_line_and_a_status() -> None:
    def run(said: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "lab.verdict", *BOUNDS]
        return subprocess.run(
            command, input=said, capture_output=True, text=True, check=False, cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    bad = run(f"ready\n{json.dumps(read(9.0, 0.0, None))}\n")
    assert (bad.returncode, bad.stdout.count("\n")) == (1, 1)
    none = run("")
    assert (none.returncode, none.stderr) == (1, "the client ended without a result\n")


def test_a_host_that_is_cut_off_lets_ssh_through_and_nothing_else() -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if nft is None or subprocess.run([*alone, "true"], check=False).returncode != 0:
        pytest.skip("needs nft and a network namespace")
    plays = yaml.safe_load((ROOT / "playbooks/drill.yml").read_text("utf-8"))
    cut = plays[1]["vars"]["drill_cut"].replace("{{ ansible_port | default(22) }}", "22")
    first, _, rules = cut.partition(" && nft ")
    assert first.startswith("systemd-run ")
    assert first.endswith("nft delete table inet okome_drill")

    done = subprocess.run(
        [*alone, "sh", "-c", f"{nft} {rules} && {nft} list ruleset"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "tcp dport 22 accept" in done.stdout
    assert "tcp sport 22 accept" in done.stdout
    assert done.stdout.count("drop") == 2
