"""The tables of docs/performance.md out of a run's results. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figures import NOTHING, cell, mean, pair, path, ratio, short, total
from bench.results import Results

US = path("us_per_token")
LATENCY_50, LATENCY_99 = ("latency", "p50_ms"), ("latency", "p99_ms")
LATENCY = (path(*LATENCY_50), path(*LATENCY_99))
TTFT = (path("ttft", "p50_ms"), path("ttft", "p99_ms"))
_ONE = (path("lanes_1", "ttft", "p50_ms"), path("lanes_1", "ttft", "p99_ms"))
_SIXTEEN = (path("lanes_16", "ttft", "p50_ms"), path("lanes_16", "ttft", "p99_ms"))
_FAULTS = ("lost", "repeated", "swapped", "unfinished", "failed")
_HARNESS_MAX = 0.95


def tables(results: Results) -> str:
    """Everything that stands between the markers."""
    parts = [_run(results), _cost(results), _delay(results), _memory(results)]
    parts += [_durability(results), _frozen(results), _flood(results), _notes(results)]
    return "\n\n".join(part for part in parts if part)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _run(results: Results) -> str:
    told = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    warning = (
        "\n\n**A quick run, to see that the harness works: its figures mean little.**"
        if results.quick
        else ""
    )
    return f"Run: {told}; rounds {results.rounds}, mean (lowest–highest).{warning}"


def _cost(results: Results) -> str:
    head = ["", "W1 us/token", "W2", "W3", "W6", "bursts", "W1: to nginx", "to vllm-router"]
    head += ["W5 tokens per CPU second"]
    rows = [
        [
            _title(results, peer),
            *(cell(results, peer, name, US) for name in ("W1", "W2", "W3", "W6", "bursts")),
            *(ratio(results, peer, base, "W1", US) for base in ("nginx", "vllm-router")),
            cell(results, peer, "W5", path("tokens_per_cpu_s")),
        ]
        for peer in _shown(results)
        if peer != "direct"
    ]
    return f"### CPU time\n\n{markdown(head, rows)}"


def _delay(results: Results) -> str:
    head = ["p50 / p99, ms", "TTFT, W4 one at a time", "sixteen", "TTFT, openings"]
    head += ["added latency W1", "W6", "jitter W1", "jitter of bursts"]
    rows = [
        [
            _title(results, peer),
            pair(results, peer, "W4", *_ONE),
            pair(results, peer, "W4", *_SIXTEEN),
            pair(results, peer, "openings", *TTFT),
            pair(results, peer, "W1", *LATENCY),
            pair(results, peer, "W6", *LATENCY),
            cell(results, peer, "W1", path("gaps", "jitter_ms")),
            cell(results, peer, "bursts", path("gaps", "jitter_ms")),
        ]
        for peer in _shown(results)
    ]
    return f"### Delay and jitter\n\n{markdown(head, rows)}"


def _memory(results: Results) -> str:
    head = ["", "KiB a silent stream", "peak RSS W1, MiB", "W5", *_FAULTS]
    rows = [
        [
            _title(results, peer),
            cell(results, peer, "silent", path("kib_per_stream")),
            *(cell(results, peer, name, path("peak_rss_mib")) for name in ("W1", "W5")),
            *(str(total(results, peer, fault)) for fault in _FAULTS),
        ]
        for peer in _shown(results)
        if peer != "direct"
    ]
    return f"### Memory, and what went wrong in all workloads\n\n{markdown(head, rows)}"


def _durability(results: Results) -> str:
    """What the log costs: the same broker with each of its logs."""
    peers = [peer for peer in _shown(results) if peer.startswith("okome-")]
    if not peers:
        return ""
    head = ["W1", "broker us/token", "log's Redis us/token", "added latency p50 / p99, ms"]
    rows = [
        [
            results.titles[peer],
            _part(results, peer, "broker"),
            _part(results, peer, "redis"),
            pair(results, peer, "W1", *LATENCY),
        ]
        for peer in peers
    ]
    return f"### The cost of durability\n\n{markdown(head, rows)}"


def _part(results: Results, peer: str, process: str) -> str:
    seconds = mean(results, peer, "W1", path("cpu_s", process))
    tokens = mean(results, peer, "W1", path("tokens"))
    return short(seconds / tokens * 1e6) if seconds is not None and tokens else NOTHING


def _frozen(results: Results) -> str:
    peers = [peer for peer in _shown(results) if results.of(peer, "frozen")]
    if not peers:
        return ""
    head = [
        "frozen readers",
        "how many",
        "KiB a reader",
        "its log in Redis",
        "p99 gap of 20 healthy streams, ms",
    ]
    head += ["with the frozen beside", "while their answers ran"]
    gap = ("gaps", "p99_ms")
    rows = [
        [
            results.titles[peer],
            cell(results, peer, "frozen", path("frozen")),
            cell(results, peer, "frozen", path("kib_per_reader")),
            cell(results, peer, "frozen", path("log_kib_per_reader")),
            *(
                cell(results, peer, "frozen", path(part, *gap))
                for part in ("without", "beside", "during")
            ),
        ]
        for peer in peers
    ]
    return f"### Readers that stop reading\n\n{markdown(head, rows)}"


def _flood(results: Results) -> str:
    peers = [peer for peer in _shown(results) if results.of(peer, "flood")]
    if not peers:
        return ""
    head = ["added latency of 20 streams x 20 tokens/s, p50 / p99, ms", "alone"]
    head += ["beside 1,000 that flood", "of which tokens/s come", "the proxy's core full to"]
    rows = [
        [
            results.titles[peer],
            *(
                pair(results, peer, "flood", path(part, *LATENCY_50), path(part, *LATENCY_99))
                for part in ("without", "beside")
            ),
            cell(results, peer, "flood", path("flood_tokens_per_s")),
            cell(results, peer, "flood", path("beside", "cpu_share")),
        ]
        for peer in peers
    ]
    return f"### Streams beside a flood\n\n{markdown(head, rows)}"


def _notes(results: Results) -> str:
    lines = [f"- {results.titles[peer]}: not run, {why}." for peer, why in results.skipped.items()]
    for row in results.rows:
        told = row.error or row.values.get("error")
        if told:
            lines.append(f"- {row.workload}, {results.titles[row.peer]}: {told}")
        elif row.values.get("harness_share", 0) > _HARNESS_MAX:
            lines.append(
                f"- {row.workload}, {results.titles[row.peer]}: the load had its core full, "
                f"{row.values['tokens_per_s']:.0f} tokens/s came; latency there is the load's."
            )
    return "\n".join(dict.fromkeys(lines))


def _shown(results: Results) -> list[str]:
    measured = {row.peer for row in results.rows}
    return [peer for peer in results.titles if peer in measured or peer in results.skipped]


def _title(results: Results, peer: str) -> str:
    return f"{results.titles[peer]} {results.versions.get(peer, '')}".strip()
