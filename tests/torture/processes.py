"""What the brokers' processes cost while they are tortured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PAGE_KIB = 4


@dataclass
class Series:
    """One process's samples: seconds, resident MiB, open files."""

    node: str
    pid: int
    at: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self, now: float) -> None:
        """Notes how it is now; nothing when it has gone."""
        folder = Path(f"/proc/{self.pid}")
        try:
            pages = int((folder / "statm").read_text().split()[1])
            files = len(list((folder / "fd").iterdir()))
        except OSError:
            return
        self.at.append(now)
        self.rss.append(pages * _PAGE_KIB / 1024)
        self.files.append(files)

    def summary(self) -> dict[str, float | int | str]:
        """Start, greatest, end and trend."""
        return {
            "node": self.node,
            "pid": self.pid,
            "seconds": round(self.at[-1] - self.at[0], 1),
            "rss_start_mib": round(self.rss[0], 1),
            "rss_max_mib": round(max(self.rss), 1),
            "rss_end_mib": round(self.rss[-1], 1),
            "rss_slope_mib_per_min": round(60 * slope(*self.later()), 3),
            "files_max": max(self.files),
            "files_end": self.files[-1],
        }

    def later(self) -> tuple[list[float], list[float]]:
        """The second half: after caches and code have been loaded."""
        middle = len(self.at) // 2
        return self.at[middle:], self.rss[middle:]


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The line of least squares' rise; 0 for fewer than three points."""
    if len(xs) < 3:
        return 0.0
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
