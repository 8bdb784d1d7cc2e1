"""`scripts/lab`: the ten nodes on this machine."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from inventory.load import InventoryError
from lab.lab import Lab, require_root
from lab.shell import LabError
from okome.paths import cache_dir

Command = Callable[[Lab, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit status; 1, after one line, when it cannot be done."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        require_root()
        return command(Lab(cache_dir(os.environ) / "lab", _report), options)
    except (LabError, InventoryError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _report(line: str) -> None:
    print(f"lab: {line}", flush=True)


def _up(lab: Lab, _: argparse.Namespace) -> int:
    lab.up()
    return 0


def _down(lab: Lab, _: argparse.Namespace) -> int:
    began = time.monotonic()
    lab.down()
    _report(f"nothing of it is left ({time.monotonic() - began:.1f} s)")
    return 0


def _ssh(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    return subprocess.run(lab.ssh(options.host, *options.words), check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/lab",
        description="The ten nodes, the control plane, the core GPU host and a client, booted on "
        "this machine in networks of their own. Needs root. Nothing outside is touched.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=command)
        return made

    add("up", _up, "boot every host, bare")
    add("down", _down, "end the lab, or what is left of one")
    ssh = add("ssh", _ssh, "a shell on a host, or one command there")
    ssh.add_argument("host")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
