"""The picture: fits every terminal, says what is wrong, and is plain where colours are not."""

from __future__ import annotations

import json
import re

import pytest

from okome.top.figures import Figures
from okome.top.view import as_json, picture, summary

GOOD = Figures("okome-node-03", 0, 60.0, None, 12, 0, 14, 0, False, 240.0, 80, 140, 45, 20, 3, 9, 0)
SLOW = Figures(
    "okome-node-04", 1, 60.0, None, 2, 5, 3, 1, False, 9.0, 900, 12_400, 700, 600, 400, 3, 2
)
QUIET = Figures("okome-node-05", 0, 60.0, None, 0, 0, 0, 0)
DEAD = Figures("okome-node-06", 0, 0.0, "did not answer within 1 s")
LOGLESS = Figures("okome-node-07", 0, 60.0, None, 1, 0, 1, 0, log_away=True)
ROWS = [GOOD, SLOW, QUIET, DEAD, LOGLESS]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", [1, 10, 20, 40, 72, 80, 100, 120, 300])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, colour: bool) -> None:
    shown = picture(ROWS, "okome top · local · last 60 s", width, colour=colour)

    assert max(len(ESCAPES.sub("", line)) for line in shown.splitlines()) <= width
    assert ("\x1b" in shown) is colour


def test_a_narrow_terminal_keeps_what_people_feel() -> None:
    wide, narrow = (picture(ROWS, "t", width, colour=False) for width in (200, 48))

    for head in ("NODE", "JOBS", "TTFT p95", "JITTER"):
        assert head in wide
        assert head in narrow
    assert "SPOOL" in wide
    assert "SPOOL" not in narrow


def test_colours_are_the_only_difference() -> None:
    plain, painted = (picture(ROWS, "t", 120, colour=c) for c in (False, True))
    assert ESCAPES.sub("", painted) == plain
    assert "\x1b[31;1m" in painted


def test_every_figure_has_its_place_and_unit() -> None:
    lines = picture(ROWS, "t", 200, colour=False).splitlines()
    good, slow, quiet, dead, logless = (re.split(r"\s{2,}", line) for line in lines[3:8])

    assert good[:5] == ["okome-node-03", "12", "0", "14", "240"]
    assert good[5:] == ["80 ms", "140 ms", "45 ms", "20 ms", "3 ms", "0", "0"]
    assert slow[0] == "okome-node-04.w1"
    assert "12.4 s" in slow
    assert quiet[5:8] == ["–", "–", "–"]
    assert set(dead[1:]) == {"–"}
    assert "away" in logless


def test_a_broker_that_is_away_is_named_with_the_reason() -> None:
    assert "! okome-node-06 did not answer within 1 s" in picture(ROWS, "t", 80, colour=False)
    assert summary(ROWS) == (
        "4 of 5 brokers, 15 jobs, 18 viewers, 249 tokens/s; 12 jobs ended, 2 failed"
    )


def test_scripts_get_every_figure() -> None:
    said = json.loads(json.dumps(as_json(ROWS)))

    assert said["ok"] is False
    assert said["brokers"][1]["ttft_p95"] == 12_400
    assert said["brokers"][3]["reason"] == "did not answer within 1 s"
    assert as_json([GOOD])["ok"] is True
