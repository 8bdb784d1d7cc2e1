"""The synthetic engine's own calls: what it counts, and telling it to end its streams."""

from __future__ import annotations

import http.client
import json
from typing import cast


def engine_call(engine: tuple[str, int], what: str) -> dict[str, int]:
    """The engine's counts, from `/bench/WHAT`. Raises OSError."""
    connection = http.client.HTTPConnection(*engine, timeout=10)
    try:
        connection.request("GET", f"/bench/{what}")
        return cast(dict[str, int], json.loads(connection.getresponse().read()))
    finally:
        connection.close()
