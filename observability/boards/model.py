"""What a dashboard is made of, and the few forms of PromQL that all of them use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["graph", "stat", "logs", "table"]
# Units by Grafana's names: seconds, bytes, bytes a second, per second, of 1, a number.
Unit = Literal["s", "bytes", "Bps", "ops", "percentunit", "short", "celsius", "watt", "bool"]
# Who feeds a panel: the one-machine cluster, or what only the ten nodes have.
Source = Literal["everywhere", "cluster", "loki"]

# As Grafana fills it: never shorter than four questions to a target.
RATE: Final = "$__rate_interval"
NODE: Final = 'node=~"$node"'


@dataclass(frozen=True, slots=True)
class Query:
    """`legend`: the name of each line, `{{label}}` filled in. `silent`: as a panel's."""

    expr: str
    legend: str = ""
    silent: str = ""


@dataclass(frozen=True, slots=True)
class Levels:
    """From `warn` on a figure is worth a look, from `bad` on people notice. Where less is
    worse `bad` is below `warn`."""

    warn: float
    bad: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One question. `about`: how to read the answer, and where to look next.

    `silent`: why there may be no data though nothing is broken, where that can be so.
    `exemplars`: points lead to jobs.
    """

    title: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "graph"
    levels: Levels | None = None
    about: str = ""
    silent: str = ""
    source: Source = "everywhere"
    exemplars: bool = False
    wide: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a person may choose: the values of a label, or a text where `query` is empty."""

    name: str
    label: str
    query: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `uid` is its address for good."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    def panels(self) -> tuple[Panel, ...]:
        """All of them."""
        return tuple(panel for row in self.rows for panel in row.panels)


def rate(metric: str, where: str = "", by: Sequence[str] = ()) -> str:
    """Events per second of a counter, summed."""
    return f"sum{_by(by)}(rate({metric}{{{where}}}[{RATE}]))"


def quantile(q: float, metric: str, where: str = "", by: Sequence[str] = ()) -> str:
    """A quantile of a histogram, in its unit."""
    inner = rate(f"{metric}_bucket", where, ("le", *by))
    return f"histogram_quantile({q:g}, {inner})"


def jitter(metric: str, where: str = "", by: Sequence[str] = ()) -> str:
    """p99 − p50 of gaps: docs/metrics.md."""
    return f"{quantile(0.99, metric, where, by)} - {quantile(0.5, metric, where, by)}"


def share(part: str, whole: str) -> str:
    """How much of the whole, of 1; no data where there is no whole."""
    return f"({part}) / ({whole} > 0)"


def beyond(metric: str, bound: str, where: str = "", by: Sequence[str] = ()) -> str:
    """Of a histogram's values the share that is above a bucket's bound."""
    within = ",".join(part for part in (where, f'le="{bound}"') if part)
    return f"1 - {share(rate(f'{metric}_bucket', within, by), rate(f'{metric}_count', where, by))}"


def stalls(gaps: str, tokens: str) -> str:
    """Gaps above 500 ms in 1,000 tokens: docs/slo.md."""
    within = rate(f"{gaps}_bucket", 'le="0.5"')
    longer = f"{rate(f'{gaps}_count')} - {within}"
    return f"1000 * {share(longer, rate(tokens))}"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)}) " if labels else " "
