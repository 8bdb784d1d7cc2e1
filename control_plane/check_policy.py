"""`python -m control_plane.check_policy`: says what is wrong with a policy file, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from control_plane.policy_reading import read_file
from control_plane.rulebook import Rulebook
from inventory.faults import Fault, FaultsError
from inventory.load import InventoryError, load_cluster


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints `{file, inventory, version, faults}`; returns 0 without faults, 1 with any, and
    2 where the inventory cannot be used, which one line on stderr says."""
    parser = argparse.ArgumentParser(
        prog="python -m control_plane.check_policy", description=__doc__
    )
    parser.add_argument("--inventory", type=Path, required=True, help="the cluster (YAML)")
    parser.add_argument("file", type=Path, help="the policy (YAML)")
    options = parser.parse_args(arguments)
    faults: list[Fault] = []
    version = None
    try:
        cluster = load_cluster(options.inventory)
        version = Rulebook(read_file(options.file, cluster), cluster).version
    except InventoryError as error:
        print(error, file=sys.stderr)
        return 2
    except FaultsError as error:
        faults = error.faults
    found = {
        "file": str(options.file),
        "inventory": str(options.inventory),
        "version": version,
        "faults": msgspec.to_builtins(faults),
    }
    json.dump(found, sys.stdout)
    print()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
