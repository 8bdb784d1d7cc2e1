"""The list of settings, for a terminal, for scripts and as docs/settings.md."""

from __future__ import annotations

from typing import Any

from inventory.settings import ENV_PREFIX, describe
from okome.table import table

_INTRODUCTION = """\
# Settings

Every setting of every process. A value comes from, first match wins: `--set name=value`,
the variable `OKOME_NAME`, the file given by `--settings FILE` (YAML, `name: value`), the default.

This page is made by `okome settings --markdown`.

| setting | default | meaning |
| --- | --- | --- |
"""


def settings_json() -> list[dict[str, Any]]:
    """For scripts: name, variable, default and meaning."""
    return [
        {
            "name": name,
            "variable": ENV_PREFIX + name.upper(),
            "default": default,
            "description": meaning,
        }
        for name, default, meaning in describe()
    ]


def settings_table() -> str:
    """For a terminal."""
    rows = [(name, _number(default), meaning) for name, default, meaning in describe()]
    return table(("SETTING", "DEFAULT", "MEANING"), rows) + "\n"


def settings_markdown() -> str:
    """The whole of docs/settings.md."""
    rows = (f"| `{name}` | {_number(value)} | {text} |\n" for name, value, text in describe())
    return _INTRODUCTION + "".join(rows)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
