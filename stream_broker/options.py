"""Who a broker process is, and what it was told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inventory.model import Cluster
from inventory.settings import Settings
from stream_broker.channel import ClientTls


@dataclass(frozen=True, slots=True)
class Options:
    """Who this process is. `process` differs at every start."""

    cluster: Cluster
    node: str
    worker: int
    process: str
    state: Path
    service_key: str
    settings: Settings
    redis_password: str = ""
    cache_password: str = ""
    control_tls: ClientTls | None = None

    @property
    def control_url(self) -> str:
        """Where the control plane is, by TLS where there is a certificate for it."""
        url = self.cluster.control_url
        return url if self.control_tls is None else url.replace("http://", "https://", 1)
