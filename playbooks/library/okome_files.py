#!/usr/bin/python3
"""Ansible module: several small files, directories and links at once. Needs only Python."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
import tempfile
from pathlib import Path

DOCUMENTATION = """
module: okome_files
short_description: Puts several small files, directories and links in place
description: >-
  In the order in which they are named; a file is there whole or as before. What is as it
  should be is left alone. One call, where a loop would be two for each file.
options:
  files:
    description: What is to be there
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where, type: path, required: true}
      content: {description: "Of a file, as text", type: str}
      src: {description: "Of a file on the machine that deploys, decrypted on its way", type: path}
      link: {description: Where a symbolic link leads to, type: path}
      mode: {description: "Of a file (default 0644) or directory (default 0755)", type: str}
      owner: {description: Name of its user, type: str, default: root}
      group: {description: Name of its group, type: str, default: root}
  copies:
    description: >-
      Further files of the machine that deploys: for each of the list `of` with `name` and
      `src`, `name` below `to` is made of `src` below `from`, with `mode`
    type: dict
author: [OKOME]
"""
EXAMPLES = """
- name: Put them there
  okome_files:
    files:
      - {path: /etc/okome}
      - {path: /etc/okome/key, src: secrets/key, mode: "0400"}
      - {path: /opt/okome/current, link: /opt/okome/releases/1}
"""
RETURN = """
changed_paths: {description: What was not as it should be, returned: always, type: list}
"""

# Ansible puts them here. Its own library for modules takes a host some 0.3 s of a core to read,
# for each task (docs/adr/0027).
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
DEFAULTS = {"content": None, "link": None, "mode": None, "owner": "root", "group": "root"}


def put(wanted: dict, dry: bool) -> bool:
    """Makes one of them so; returns whether it was not, and does nothing more when `dry`."""
    path = Path(wanted["path"])
    if wanted["link"] is not None:
        return _put_link(path, wanted["link"], dry)
    owner = _owner(wanted, dry)
    if wanted["content"] is None:
        return _put_directory(path, int(wanted["mode"] or "0755", 8), owner, dry)
    content = wanted["content"].encode()
    return _put_file(path, content, int(wanted["mode"] or "0644", 8), owner, dry)


def _owner(wanted: dict, dry: bool) -> tuple[int, int]:
    try:
        return pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
    except KeyError:
        if not dry:  # a package that is yet to be installed makes them
            raise
        return -1, -1


def _put_link(path: Path, target: str, dry: bool) -> bool:
    if path.is_symlink() and str(path.readlink()) == target:
        return False
    if not dry:
        unfinished = path.with_name(f".{path.name}.new")
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(target)
        unfinished.replace(path)
    return True


def _put_directory(path: Path, mode: int, owner: tuple[int, int], dry: bool) -> bool:
    if path.is_dir() and _is(path, mode, owner):
        return False
    if not dry:
        path.mkdir(parents=True, exist_ok=True)
        _make(path, mode, owner)
    return True


def _put_file(path: Path, content: bytes, mode: int, owner: tuple[int, int], dry: bool) -> bool:
    same = path.is_file() and path.read_bytes() == content
    if same and _is(path, mode, owner):
        return False
    if dry:
        return True
    if same:
        _make(path, mode, owner)
        return True
    file, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _make(Path(unfinished), mode, owner)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    return True


def _is(path: Path, mode: int, owner: tuple[int, int]) -> bool:
    state = path.lstat()
    return (state.st_mode & 0o7777, state.st_uid, state.st_gid) == (mode, *owner)


def _make(path: Path, mode: int, owner: tuple[int, int]) -> None:
    os.chown(path, *owner)
    os.chmod(path, mode)


def completed(wanted: dict) -> dict:
    """With what was not said of it. Raises ValueError for a name that it does not know."""
    if unknown := sorted(wanted.keys() - DEFAULTS.keys() - {"path"}):
        raise ValueError(f"unknown: {', '.join(unknown)}")
    return {**DEFAULTS, **wanted}


def main() -> int:
    """As Ansible calls it."""
    asked = json.loads(ARGUMENTS)
    changed: list[str] = []
    for wanted in asked["files"]:
        try:
            if put(completed(wanted), asked["_ansible_check_mode"]):
                changed.append(wanted["path"])
        except (OSError, KeyError, ValueError) as error:
            told = {"failed": True, "msg": f"{wanted.get('path')}: {error}"}
            print(json.dumps({**told, "changed_paths": changed}))
            return 1
    print(json.dumps({"changed": bool(changed), "changed_paths": changed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
