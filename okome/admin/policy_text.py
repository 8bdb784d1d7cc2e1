"""The policy, and what changes in it, for a person."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from okome.admin.show import cell

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


def policy_text(answer: dict[str, Any]) -> str:
    """What `okome policy show` prints: a head, what is wrong with the file now, the policy
    as YAML without what it leaves to defaults that are empty."""
    source = answer["source"] or "the inventory (there is no policy file)"
    head = [
        f"version  {answer['version']}",
        f"from     {source}",
        f"since    {cell(answer['taken_at'], 'taken_at')} ({_age(answer['age_s'])} ago)",
    ]
    if answer["faults"]:
        when = cell(answer["refused_at"], "refused_at")
        head += [f"REFUSED  the file as it is since {when}:"]
        head += [f"         {line}" for line in answer["faults"]]
    said = yaml.safe_dump(_lean(answer["policy"]), sort_keys=False, allow_unicode=True)
    return "\n".join([*head, "", said.rstrip()])


def changes_text(answer: dict[str, Any]) -> str:
    """What `okome policy diff` prints: a line for each member that is another."""
    if not answer["changes"]:
        return f"nothing changes against {answer['against']}"
    return "\n".join(_change(change) for change in answer["changes"])


def _change(change: dict[str, Any]) -> str:
    line = f"{_SIGNS[change['change']]} {change['path']}: "
    if change["change"] == "changed":
        return f"{line}{_value(change['before'])} → {_value(change['after'])}"
    return line + _value(change["after" if change["change"] == "added" else "before"])


def _value(value: Any) -> str:
    return json.dumps(_lean(value), ensure_ascii=False)


def _lean(value: Any) -> Any:
    """Without members that say nothing."""
    if isinstance(value, list):
        return [_lean(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _lean(of) for name, of in value.items() if of is not None and of not in ([], {})}


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
