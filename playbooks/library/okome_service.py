#!/usr/bin/python3
"""Ansible module: a unit runs, and with what is in its files now. Needs only Python."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

DOCUMENTATION = """
module: okome_service
short_description: Starts a unit, and restarts it when its files are newer than what runs
description: >-
  By the times of files and not by what a playbook has changed: so that what a run which was
  broken off had put there is heeded by the next one.
options:
  name: {description: The unit, type: str, required: true}
  reads:
    description: "Files it reads at its start; directories: all in them"
    type: list
    elements: path
  rereads:
    description: The same, of those that it reads anew when it is reloaded
    type: list
    elements: path
  act: {description: "false: only look", type: bool, default: true}
  restart:
    description: "false: what runs is left alone, and `stale` tells of it"
    type: bool
    default: true
author: [OKOME]
"""
EXAMPLES = """
- name: Run it
  okome_service: {name: okome-broker-0.service, reads: [/etc/okome/inventory.yml]}
"""
RETURN = """
stale: {description: Did it run with what was there before?, returned: always, type: bool}
verb: {description: "start, reload or restart; empty for nothing", returned: always, type: str}
"""

# Ansible puts them here, see okome_files.
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
_FORMAT = "%a %Y-%m-%d %H:%M:%S.%f %Z"
_PROPERTIES = (
    "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "FragmentPath",
    "DropInPaths", "ExecMainStartTimestamp", "StateChangeTimestamp",
)  # fmt: skip


def parse(text: str) -> dict[str, str]:
    """What `systemctl show` prints."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def seconds(stamp: str) -> float:
    """Of `Sat 2026-11-21 17:07:45.123456 UTC`, since 1970; 0 for none."""
    if not stamp or stamp == "n/a":
        return 0.0
    moment = datetime.datetime.strptime(stamp, _FORMAT)
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def newest(places: list[str]) -> float:
    """When the last of the files was changed, seconds since 1970; 0 where there is none."""
    times = [0.0]
    for place in map(Path, places):
        files = [place, *place.rglob("*")] if place.is_dir() else [place]
        times += [file.stat().st_mtime for file in files if file.exists()]
    return max(times)


def verb(shown: dict[str, str], reads: list[str], rereads: list[str]) -> str:
    """What is to be done, as systemctl calls it; empty for nothing."""
    if shown["ActiveState"] not in ("active", "reloading", "activating"):
        return "start"
    # A unit's own description is heeded by nothing but a restart.
    unit = [place for place in [shown["FragmentPath"], *shown["DropInPaths"].split()] if place]
    if newest([*unit, *reads]) > seconds(shown["ExecMainStartTimestamp"]):
        return "restart"
    return "reload" if newest(rereads) > seconds(shown["StateChangeTimestamp"]) else ""


def _systemctl(*words: str) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(
        ["systemctl", *words], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        raise RuntimeError(
            done.stderr.strip() or f"systemctl {words[0]} ended with {done.returncode}"
        )
    return done.stdout


def _show(name: str) -> dict[str, str]:
    return parse(_systemctl("show", "--timestamp=us+utc", f"-p{','.join(_PROPERTIES)}", name))


def settle(
    name: str, reads: list[str], rereads: list[str], act: bool, restart: bool = True
) -> tuple[bool, str]:
    """Makes it so. Returns whether something was, or without `act` would be, done, and what
    was due."""
    shown = _show(name)
    due = verb(shown, reads, rereads)
    done = due == "start" or (restart and bool(due))
    changed = done or shown["UnitFileState"] != "enabled"
    if not act:
        return changed, due
    if shown["NeedDaemonReload"] == "yes" or shown["LoadState"] != "loaded":
        _systemctl("daemon-reload")
        shown = _show(name)
        due = verb(shown, reads, rereads)
    if shown["UnitFileState"] != "enabled":
        _systemctl("enable", name)
    if due == "start" or (restart and due):
        _systemctl(due, name)
    return changed, due


def main() -> int:
    """As Ansible calls it."""
    asked = json.loads(ARGUMENTS)
    name, act = asked["name"], asked.get("act", True)
    try:
        changed, due = settle(
            name,
            asked.get("reads", []),
            asked.get("rereads", []),
            act and not asked["_ansible_check_mode"],
            asked.get("restart", True),
        )
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        print(json.dumps({"failed": True, "msg": f"{name}: {error}"}))
        return 1
    stale = due in ("reload", "restart")
    print(json.dumps({"changed": changed and act, "stale": stale, "verb": due}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
