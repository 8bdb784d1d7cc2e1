"""The broker tests' Redis serves here too."""

from __future__ import annotations

from tests.stream_broker.conftest import redis_server

__all__ = ["redis_server"]
