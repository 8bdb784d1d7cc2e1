"""The distribution's packages that nodes install, by the role of the playbook that does.

For an owner whose nodes have a mirror with what it was given only; also in bundle.json.
"""

from __future__ import annotations

PACKAGES: dict[str, tuple[str, ...]] = {
    "base": ("python3", "ca-certificates"),
    "firewall": ("nftables",),
    "core_gpu": ("libgomp1",),
    "redis": ("redis-server",),
    "cache": ("redis-server",),
    "postgres": ("postgresql",),
    "ingress": ("haproxy", "keepalived"),
    "exporters": (
        "prometheus-node-exporter",
        "prometheus-redis-exporter",
        "prometheus-postgres-exporter",
    ),
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager",),
}


def all_packages() -> list[str]:
    """Each once, sorted."""
    return sorted({name for names in PACKAGES.values() for name in names})
