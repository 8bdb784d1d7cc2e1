"""What a run has shown, as a table for people and as JSON. Pure."""

from __future__ import annotations

from typing import Any

from tests.torture.book import Book

# A process that lives this long (seconds), and so has loaded all that it ever loads, has to be
# flat: its second half may rise by less than this (MiB a minute), or than this in all (MiB).
FLAT_AFTER_S = 240.0
FLAT_MIB_PER_MIN = 2.0
FLAT_MIB = 8.0


def figures(book: Book, seconds: float, memory: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was counted."""
    counts = dict(sorted(book.counts.items()))
    return {
        "seconds": round(seconds, 1),
        "jobs": counts.pop("jobs", 0),
        "reconnects": counts.pop("reconnects", 0),
        "events_seen": counts.pop("events", 0),
        "takeovers": counts.get("notice relay_moved", 0),
        "lost": book.faults["lost"] + book.faults["no_end"],
        "repeated": book.faults["repeated"],
        "changed": book.faults["changed"],
        "violations": dict(book.faults),
        "told": book.told,
        "broken": book.broken,
        "counts": counts,
        "memory": memory,
        "memory_flat": all(is_flat(process) for process in memory),
        "ok": not book.faults and all(is_flat(process) for process in memory),
    }


def is_flat(process: dict[str, Any]) -> bool:
    """Does a process that has lived long enough not grow?"""
    if process["seconds"] < FLAT_AFTER_S:
        return True
    slope: float = process["rss_slope_mib_per_min"]
    return slope < FLAT_MIB_PER_MIN or slope * process["seconds"] / 120 < FLAT_MIB


def table(found: dict[str, Any], *, color: bool) -> str:
    """The figures for a terminal."""
    good, bad, plain = ("\033[32m", "\033[31m", "\033[0m") if color else ("", "", "")
    plainly = ("seconds", "jobs", "reconnects", "events_seen", "takeovers")
    lines = ["", *(f"{name.replace('_', ' '):<28} {found[name]}" for name in plainly)]
    for name in ("lost", "repeated", "changed"):
        tint = bad if found[name] else good
        lines.append(f"{name:<28} {tint}{found[name]}{plain}")
    lines += ["", *(f"{name:<44} {count}" for name, count in found["counts"].items()), ""]
    lines.append(
        f"{'broker':<16}{'lived s':>9}{'start':>8}{'max':>8}{'end':>8}{'MiB/min':>9}{'files':>7}"
    )
    lines += [*(_memory_line(process) for process in found["memory"][:12]), ""]
    lines += [f"{bad}{text[:300]}{plain}" for text in found["told"]]
    if not found["memory_flat"]:
        lines.append(f"{bad}memory grows{plain}")
    verdict = "nothing lost, nothing twice" if found["ok"] else "VIOLATED"
    lines.append(f"{good if found['ok'] else bad}{verdict}{plain}")
    return "\n".join(lines)


def _memory_line(process: dict[str, Any]) -> str:
    return (
        f"{process['node']:<16}{process['seconds']:>9}{process['rss_start_mib']:>8}"
        f"{process['rss_max_mib']:>8}{process['rss_end_mib']:>8}"
        f"{process['rss_slope_mib_per_min']:>9}{process['files_end']:>7}"
    )
