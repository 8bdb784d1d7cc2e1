"""`scripts/lab`: the ten nodes on this machine."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from inventory.load import InventoryError
from lab.drill import drill
from lab.lab import ROOT, Lab, require_root
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


def _deploy(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    began = time.monotonic()
    programs = Path(sys.executable).parent
    bundle = cache_dir(os.environ) / "bundle"
    done = subprocess.run(
        [programs / "okome", "bundle", "--engine", "--output", bundle], check=False
    )
    if done.returncode != 0:
        return done.returncode
    _report(f"bundle made ({time.monotonic() - began:.1f} s)")
    return _play(lab, "playbooks/site.yml", *options.ansible)


def _verify(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    return _play(lab, "playbooks/verify.yml", *options.ansible)


def _drill(lab: Lab, options: argparse.Namespace) -> int:
    lab.require()
    results = drill(lab, _report, options.tokens)
    print(json.dumps(results, indent=2))
    return 0


def _play(lab: Lab, playbook: str, *words: str) -> int:
    began = time.monotonic()
    command = lab.outside(
        str(Path(sys.executable).parent / "ansible-playbook"),
        *("-i", str(lab.inventory), f"--ssh-common-args=-F {lab.ssh_config}"),
        *("-e", f"okome_secrets_dir={lab.secrets}"),
        *(playbook, *words),
    )
    # Its connections and temporary files go with the lab.
    environment = {**os.environ, "ANSIBLE_HOME": str(lab.ansible_home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment)
    _report(f"{playbook} took {time.monotonic() - began:.1f} s")
    return done.returncode


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
    drills.add_argument("--tokens", type=int, default=300, help="of each answer that is read")
    ssh = add("ssh", _ssh, "a shell on a host, or one command there")
    ssh.add_argument("host")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
