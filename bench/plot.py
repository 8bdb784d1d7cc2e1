"""The plot of docs/performance.svg: horizontal bars, by hand, so that it needs nothing. Pure."""

from __future__ import annotations

from html import escape
from statistics import median

from bench.figures import Pick, mean, path, short
from bench.results import Results
from bench.tables import LATENCY, US

_PANELS: tuple[tuple[str, str, Pick], ...] = (
    ("CPU time a token, 100 streams x 50 tokens/s (us)", "W1", US),
    ("CPU time a token, 200 streams x 300 tokens/s (us)", "W6", US),
    ("Added latency p99, 100 streams x 50 tokens/s (ms)", "W1", LATENCY[1]),
    ("Jitter of bursts: 4 tokens every 80 ms (ms)", "bursts", path("gaps", "jitter_ms")),
    ("Memory of a silent stream (KiB)", "silent", path("kib_per_stream")),
)
_WIDTH, _LABELS, _BAR, _LINE, _TITLE, _GAP = 760, 250, 400, 22, 34, 18
_OURS, _THEIRS, _INK, _PAPER = "#2563a8", "#a9b4c0", "#1d2733", "#ffffff"
_CLIP = 4.0


def plot(results: Results) -> str:
    """The SVG. A bar of more than four medians is cut and ends in an arrow."""
    parts, top = [], _GAP
    for title, workload, pick in _PANELS:
        bars = _bars(results, workload, pick)
        if bars:
            parts.append(_panel(title, bars, top))
            top += _TITLE + _LINE * len(bars) + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
            f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}">',
            f'<rect width="{_WIDTH}" height="{top}" fill="{_PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _bars(results: Results, workload: str, pick: Pick) -> list[tuple[str, str, float]]:
    found = ((peer, mean(results, peer, workload, pick)) for peer in results.titles)
    return [
        (peer, results.titles[peer], value)
        for peer, value in found
        if value is not None and peer != "direct"
    ]


def _panel(title: str, bars: list[tuple[str, str, float]], top: int) -> str:
    values = [value for _, _, value in bars]
    most = max(min(max(values), _CLIP * median(values)), 1e-9)
    lines = [f'<text x="12" y="{top + 16}" font-weight="600">{escape(title)}</text>']
    for index, (peer, label, value) in enumerate(bars):
        y = top + _TITLE + index * _LINE
        cut = value > most
        width = max(1.0, min(value, most) / most * _BAR)
        colour = _OURS if peer.startswith("okome") else _THEIRS
        arrow = " →" if cut else ""
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>',
            f'<text x="{_LABELS + width + 6:.1f}" y="{y + 12}">{short(value)}{arrow}</text>',
        ]
    return "\n".join(lines)
