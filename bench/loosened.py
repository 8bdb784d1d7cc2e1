"""An installed distribution's requirements with some of its pins taken off.

    python bench/loosened.py DISTRIBUTION EXTRA NAME ...

Runs under the Python of the environment in question, which has nothing but the standard
library and that distribution.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import requires

_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([^'"]+)['"]""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def loosened(lines: Iterable[str], extra: str, names: Sequence[str]) -> list[str]:
    """The requirements that the extra asks for, those of `names` in any version."""
    found = []
    for line in lines:
        spec, _, marker = line.partition(";")
        asked = _EXTRA.search(marker)
        if asked and asked[1] != extra:
            continue
        name = _NAME.match(spec.strip())
        if name and name[0] in names:
            spec = name[0]
        keep = marker.strip() if marker and not asked else ""
        found.append(f"{spec.strip()}; {keep}" if keep else spec.strip())
    return found


def main() -> None:
    """The command line."""
    distribution, extra, *names = sys.argv[1:]
    print("\n".join(loosened(requires(distribution) or [], extra, names)))


if __name__ == "__main__":
    main()
