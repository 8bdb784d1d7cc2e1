from __future__ import annotations

import json
from pathlib import Path

from tests.torture.complaints import complaints


def entry(level: str, message: str, **more: str) -> str:
    return json.dumps({"time": "12:00", "level": level, "logger": "x", "message": message} | more)


def test_errors_are_found_with_the_end_of_their_trace(tmp_path: Path) -> None:
    lines = [
        entry("warning", "the log is away"),
        entry("error", "a fault", exception="Traceback\n  File …\nValueError: no\n"),
        "19255:M # Cluster state changed: ok",
        "[1]",
        '{"level": "error"}',
    ]
    (tmp_path / "okome-node-03.log").write_text("\n".join(lines))
    (tmp_path / "okome-node-03.log.1").write_text(entry("critical", "an older one"))
    assert list(complaints(tmp_path)) == [
        "okome-node-03.log: 12:00 x: a fault ValueError: no",
        "okome-node-03.log.1: 12:00 x: an older one",
    ]
