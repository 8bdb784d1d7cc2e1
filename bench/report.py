"""Puts a run's tables and plot into docs/.

python -m bench.report bench-results.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.plot import plot
from bench.results import Results, load
from bench.tables import tables

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
_DOCS = Path(__file__).parent.parent / "docs"


class ReportError(Exception):
    """The page has no place for the tables."""


def filled(page: str, content: str) -> str:
    """`page` with what stands between its markers replaced. Raises ReportError."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ReportError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def write_report(results: Results, docs: Path) -> None:
    """Fills `performance.md` and draws `performance.svg`."""
    page = docs / "performance.md"
    text = filled(page.read_text(encoding="utf-8"), tables(results))
    page.write_text(text, encoding="utf-8")
    (docs / "performance.svg").write_text(plot(results), encoding="utf-8")


def main() -> None:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("results", type=Path, help="what scripts/bench --json has written")
    write_report(load(options.parse_args().results), _DOCS)


if __name__ == "__main__":
    main()
