"""Loki's and Alloy's configuration as pure text from the inventory.

Alloy reads the journal of its host and sends it to both Lokis; each keeps all of it, so that
either may be away. What is labelled is bounded: cluster, node, unit and level. Everything else
stays in the line, which is JSON where it is ours.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import yaml

from inventory.model import Cluster, Node

LOKI_PORT = 3100
# Units whose lines are kept: ours, and those of the distribution that we run.
UNITS = "okome-.+|haproxy\\.service|keepalived\\.service|postgresql@.+|ssh\\.service"


def loki(node: Node, data: PurePath, days: int) -> str:
    """The configuration of the Loki (3.0 or later, one process) on `node`."""
    config: dict[str, Any] = {
        "auth_enabled": False,
        "server": {
            "http_listen_address": node.address,
            "http_listen_port": LOKI_PORT,
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": 9095,
            "log_level": "warn",
        },
        "common": {
            "instance_addr": "127.0.0.1",
            "path_prefix": str(data),
            "replication_factor": 1,
            "ring": {"kvstore": {"store": "inmemory"}},
            "storage": {"filesystem": {"chunks_directory": str(data / "chunks")}},
        },
        "schema_config": {
            "configs": [
                {
                    "from": "2026-01-01",
                    "store": "tsdb",
                    "object_store": "filesystem",
                    "schema": "v13",
                    "index": {"prefix": "index_", "period": "24h"},
                }
            ]
        },
        "limits_config": _limits(days),
        "compactor": {
            "working_directory": str(data / "compactor"),
            "retention_enabled": True,
            "delete_request_store": "filesystem",
        },
        "analytics": {"reporting_enabled": False},
    }
    text = yaml.safe_dump(config, sort_keys=False, width=100)
    return f"# Made by OKOME from the inventory; a change here is lost.\n{text}"


def _limits(days: int) -> dict[str, Any]:
    """What one chatty process may cost a small node."""
    return {
        "retention_period": f"{days * 24}h",
        "reject_old_samples_max_age": f"{days * 24}h",
        "ingestion_rate_mb": 2,
        "ingestion_burst_size_mb": 4,
        "max_global_streams_per_user": 2000,
        "max_label_names_per_series": 8,
        "max_line_size": "64KB",
        "max_line_size_truncate": True,
        "max_entries_limit_per_query": 5000,
    }


def alloy(cluster: Cluster, node: Node) -> str:
    """The configuration of the Alloy (1.0 or later) on `node`."""
    endpoints = "\n".join(
        _ENDPOINT.format(url=f"http://{one.address}:{LOKI_PORT}/loki/api/v1/push")
        for one in cluster.role("observability")
    )
    units = UNITS.replace("\\", "\\\\")
    return _ALLOY.format(cluster=cluster.name, node=node.name, units=units, endpoints=endpoints)


_ENDPOINT = """\
  endpoint {{
    url                 = "{url}"
    batch_wait          = "1s"
    max_backoff_period  = "1m"
    max_backoff_retries = 20
    remote_timeout      = "10s"
  }}"""

_ALLOY = """\
// Made by OKOME from the inventory; a change here is lost.
logging {{
  level = "warn"
}}

loki.source.journal "units" {{
  max_age       = "12h"
  labels        = {{ cluster = "{cluster}", node = "{node}" }}
  relabel_rules = loki.relabel.units.rules
  forward_to    = [loki.write.pair.receiver]
}}

loki.relabel "units" {{
  forward_to = []

  rule {{
    source_labels = ["__journal__systemd_unit"]
    regex         = "{units}"
    action        = "keep"
  }}
  rule {{
    source_labels = ["__journal__systemd_unit"]
    target_label  = "unit"
  }}
  rule {{
    source_labels = ["__journal_priority_keyword"]
    target_label  = "level"
  }}
}}

loki.write "pair" {{
{endpoints}
}}
"""
