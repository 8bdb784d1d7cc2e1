"""One measurement in one line, for somebody who watches. Pure."""

from __future__ import annotations

from typing import Any

from bench.figures import NOTHING
from bench.results import Row


def glance(row: Row) -> str:
    """Workload, peer, and the figures that say most about this kind of workload."""
    head = f"{row.workload} {row.peer}:"
    if row.error is not None:
        return f"{head} FAILED: {row.error}"
    values = row.values
    figures = [*_figures(values), f"lost {values['lost']}"]
    faults = ("repeated", "swapped", "unfinished", "failed")
    figures += [f"{fault} {values[fault]}" for fault in faults if values[fault]]
    if values["error"]:
        figures.append(values["error"])
    return f"{head} {', '.join(figures)}"


def _figures(values: dict[str, Any]) -> list[str]:
    if "kib_per_stream" in values:
        return [f"{values['kib_per_stream'] or 0:.1f} KiB a stream", f"{values['open']} open"]
    if "kib_per_reader" in values:
        gaps = (values[part]["gaps"].get("p99_ms", 0) for part in ("without", "beside"))
        healthy = " and ".join(f"{gap:.1f}" for gap in gaps)
        return [
            f"{values['kib_per_reader'] or 0:.1f} KiB a reader",
            f"p99 gap {healthy} ms without and beside them",
        ]
    if "flooding" in values:
        beside = values["beside"]
        return [
            f"latency {_spread(values['without']['latency'])} ms alone",
            f"{_spread(beside['latency'])} ms beside {values['flooding']} that flood "
            f"with {values['flood_tokens_per_s']:.0f} tokens/s",
            f"core at {beside['cpu_share']:.0%} ({_shares(beside)})",
            f"harness at {beside['harness_share']:.0%}",
        ]
    if "lanes_1" in values:
        return [_lanes(values[f"lanes_{lanes}"], lanes) for lanes in (1, 16)]
    if "cpu_ms_per_opening" in values:
        told = _each(values["cpu_ms_per_opening"])
        return [f"TTFT {_spread(values['ttft'])} ms", f"CPU ms an opening: {told}"]
    return _streaming(values)


def _lanes(values: dict[str, Any], lanes: int) -> str:
    told = f"TTFT {_spread(values['ttft'])} ms with {lanes} at a time"
    return f"{told} (CPU ms an answer: {_each(values['cpu_ms_per_answer'])})"


def _each(spent: dict[str, float]) -> str:
    return " + ".join(f"{name} {each:.2f}" for name, each in spent.items()) or NOTHING


def _shares(values: dict[str, Any]) -> str:
    spent, seconds = values["cpu_s"], values["seconds"]
    return ", ".join(f"{name} {each / seconds:.0%}" for name, each in spent.items()) or NOTHING


def _streaming(values: dict[str, Any]) -> list[str]:
    figures = [f"{values['tokens_per_s']:.0f} tokens/s"]
    if values["us_per_token"] is not None:
        figures.append(f"{values['us_per_token']:.2f} us a token")
        figures.append(f"core at {values['cpu_share']:.0%}")
    figures.append(f"harness at {values['harness_share']:.0%}")
    if values["latency"]["count"]:
        figures.append(f"latency {_spread(values['latency'])} ms")
        figures.append(f"jitter {values['gaps'].get('jitter_ms', 0):.2f} ms")
    else:
        figures.append(f"TTFT {_spread(values['ttft'])} ms")
    return figures


def _spread(found: dict[str, float]) -> str:
    return f"{found['p50_ms']:.3f}/{found['p99_ms']:.3f}" if found["count"] else "-"
