"""The rules as the files that Prometheus loads.

    python -m observability.rule_files

writes them anew; what is checked in is what the thresholds in `slo.py` say, by a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from observability import alerts, recording

RULES: Final = Path(__file__).parent / "rules"
_HEAD: Final = "# Made by `python -m observability.rule_files`; a change here is lost.\n"


def files() -> dict[str, str]:
    """Names and contents."""
    return {
        "recording.yml": _text(recording.groups()),
        "alerts.yml": _text(alerts.groups()),
    }


def main() -> None:
    """Writes them."""
    RULES.mkdir(exist_ok=True)
    for name, text in files().items():
        (RULES / name).write_text(text, encoding="utf-8")


def _text(groups: list[dict[str, Any]]) -> str:
    return _HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=100)


if __name__ == "__main__":
    main()
