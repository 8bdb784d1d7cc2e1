"""The queries of every panel, as they are asked, and the names that are in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from observability.boards.all import boards
from observability.boards.model import Board, Panel, Query

# What is written like a metric in PromQL, and is none.
_WORDS = {
    "by", "on", "or", "and", "unless", "without", "ignoring", "group_left", "sum", "min", "max",
    "avg", "rate", "abs", "time", "histogram_quantile", "count", "topk", "increase", "clamp_min",
}  # fmt: skip
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ASIDE = re.compile(r"\{[^}]*\}|\[[^\]]*\]|(?:by|without|on|ignoring) \([^)]*\)")
_FAMILY = re.compile(r"_(?:bucket|sum|count)$")


def asked(expr: str, window: str) -> str:
    """A query with Grafana's words filled in."""
    return expr.replace("$__rate_interval", window).replace("$node", ".*")


def metrics(expr: str) -> set[str]:
    """The names of metrics in a query, histograms by their family's."""
    names = _NAME.findall(_ASIDE.sub(" ", expr))
    return {_FAMILY.sub("", name) for name in names} - _WORDS


def every() -> Iterator[tuple[Board, Panel, Query]]:
    """Each query of each panel of each board, without those of logs."""
    for board in boards():
        for panel in board.panels():
            if panel.source != "loki":
                yield from ((board, panel, query) for query in panel.queries)
