"""`scripts/lab`: the ten nodes on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from inventory.load import InventoryError
from lab import proofs
from lab.ci import ci
from lab.drill import drill
from lab.drills import DRILLS, QUICK
from lab.lab import Lab, require_root
from lab.plays import bundle, play, upgrade
from lab.shell import LabError
from okome.paths import cache_dir

Command = Callable[[Lab, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit status; 1, after one line, when it cannot be done."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not hasattr(options, "ansible"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.ansible = rest
    command: Command = options.command
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if command is not _ci:
            require_root()
        return command(Lab(cache_dir(os.environ) / "lab", _report), options)
    except (LabError, InventoryError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


def _interrupt(*_: object) -> NoReturn:
    # As Ctrl-C does: whatever is under way takes away what it has made.
    raise KeyboardInterrupt


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


def _deploy(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    bundle()
    return play(lab, "site", _report, *options.ansible)


def _play(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    return play(lab, options.playbook, _report, *options.ansible)


def _verify(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    return play(lab, "verify", _report, *options.ansible)


def _upgrade(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    return upgrade(lab, _report, options.sick, *options.ansible)


def _drill(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    keys = [*options.names, *(QUICK if options.quick else ())]
    results = drill(lab, _report, keys)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if any(result["faults"] for result in results) else 0


def _proof(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    proofs.PROOFS[options.name](lab, _report)
    return 0


def _ci(lab: Lab, options: argparse.Namespace) -> int:
    return ci(lab, _report, options.or_skip, options.whole)


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
    further = "; further options are ansible-playbook's"
    deploy = add("deploy", _deploy, f"deploy all of it with playbooks/site.yml{further}")
    deploy.set_defaults(ansible=[])
    verify = add("verify", _verify, f"let the deployed cluster prove itself{further}")
    verify.set_defaults(ansible=[])
    drills = add("drill", _drill, "break things while a client reads, and measure")
    names = ", ".join(one.key for one in DRILLS)
    drills.add_argument("names", nargs="*", metavar="NAME", help=f"default: all; of {names}")
    drills.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    drills.add_argument("--json", type=Path, metavar="FILE", help="where all figures go")
    upgrades = add("upgrade", _upgrade, f"to another release, by playbooks/upgrade.yml{further}")
    upgrades.set_defaults(ansible=[])
    upgrades.add_argument("--sick", metavar="HOST", help="where the new release does not run")
    plays = add("play", _play, f"run any of the playbooks{further}")
    plays.set_defaults(ansible=[])
    plays.add_argument("playbook", metavar="NAME", help="site, verify, backup …")
    whole = add("ci", _ci, "all of it from nothing, with a few drills, and down again")
    whole.add_argument("--or-skip", action="store_true", help="well, where no lab can be")
    proof = add("prove", _proof, "one thing that takes the cluster apart and puts it together")
    proof.add_argument("name", choices=proofs.PROOFS)
    whole.add_argument("--whole", action="store_true", help="with every proof: some more minutes")
    ssh = add("ssh", _ssh, "a shell on a host, or one command there")
    ssh.add_argument("host")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
