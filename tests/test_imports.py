"""Imports run one way, and the pure core touches neither the clock nor the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# room -> rooms it may import besides itself. `okome` stands on top of all that is installed,
# `lab` on top of that.
ROOMS: dict[str, set[str]] = {
    "contracts": set(),
    "inventory": {"contracts"},
    "observability": {"contracts", "inventory"},
    "ingress": {"contracts", "inventory"},
    "control_plane": {"contracts", "inventory", "observability"},
    "stream_broker": {"contracts", "inventory", "observability"},
    "okome": {"contracts", "inventory", "observability", "ingress"},
    "lab": {"contracts", "inventory", "okome"},
}

# The pure core: time is an argument, I/O is somebody else's. Files or whole folders.
PURE = [
    "contracts",
    "control_plane/allowance.py",
    "control_plane/fleet/breaker.py",
    "control_plane/fleet/flapping.py",
    "control_plane/fleet/readings.py",
    "control_plane/fleet/seats.py",
    "control_plane/fleet/servers.py",
    "control_plane/holdings.py",
    "control_plane/json_schemas.py",
    "control_plane/ledger.py",
    "control_plane/login_secret.py",
    "control_plane/oidc.py",
    "control_plane/policy_changes.py",
    "control_plane/policy_checks.py",
    "control_plane/policy_document.py",
    "control_plane/placing",
    "control_plane/refusals.py",
    "control_plane/rulebook.py",
    "control_plane/tally.py",
    "control_plane/throttle.py",
    "ingress",
    "inventory/faults.py",
    "inventory/members.py",
    "inventory/model.py",
    "inventory/shape.py",
    "inventory/slots.py",
    "observability/alerting.py",
    "observability/shipping.py",
    "inventory/yaml_tree.py",
    "observability/boards",
    "observability/dash/answers.py",
    "observability/dash/verdict.py",
    "observability/scraping.py",
    "okome/backoff.py",
    "okome/banner.py",
    "okome/deploy/firewall.py",
    "okome/deploy/packages.py",
    "okome/plan.py",
    "okome/redis_config.py",
    "okome/redis_plan.py",
    "okome/table.py",
    "okome/top/figures.py",
    "okome/top/reading.py",
    "okome/top/view.py",
    "stream_broker/bodies.py",
    "stream_broker/cache/base.py",
    "stream_broker/cache/breaker.py",
    "stream_broker/cache/lru.py",
    "stream_broker/degraded.py",
    "stream_broker/embeddings/request.py",
    "stream_broker/embeddings/vectors.py",
    "stream_broker/embeddings/wire.py",
    "stream_broker/events.py",
    "stream_broker/gaps.py",
    "stream_broker/ids.py",
    "stream_broker/log/appending.py",
    "stream_broker/log/keys.py",
    "stream_broker/log/resp.py",
    "stream_broker/log/scripts.py",
    "stream_broker/offers.py",
    "stream_broker/pacer.py",
    "stream_broker/patience.py",
    "stream_broker/record.py",
    "stream_broker/relay.py",
    "stream_broker/settling.py",
    "stream_broker/tally.py",
    "stream_broker/views",
    "stream_broker/wheel.py",
    "stream_broker/window.py",
]
IMPURE = {
    "asyncio", "aiohttp", "httptools", "httpx", "random", "redis", "select", "socket",
    "starlette", "subprocess", "threading", "time", "uvicorn", "uvloop", "websockets",
}  # fmt: skip


def modules(room: str) -> Iterator[Path]:
    place = ROOT / room
    yield from [place] if place.is_file() else sorted(place.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions; never a relative one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    allowed = ROOMS[room] | {room}
    for path in modules(room):
        for name in imported(path):
            target = name.partition(".")[0]
            assert target not in ROOMS or target in allowed, f"{path} imports {name}"
            assert target != "tests", f"{path} imports {name}"


@pytest.mark.parametrize("place", PURE)
def test_the_pure_core_has_no_io_and_no_clock(place: str) -> None:
    files = list(modules(place))
    assert files, f"{place} is gone; take it off the list"
    for path in files:
        forbidden = IMPURE & {name.partition(".")[0] for name in imported(path)}
        assert not forbidden, f"{path} imports {forbidden}"


def test_every_package_is_a_room() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert packages == set(ROOMS)
